// The terminal: its size, whether to use colours, a screen of its own for `top`, and what signals do.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace glintfs::ctl {

enum class ColorMode { kAuto, kAlways, kNever };

// kAuto: on a terminal, unless NO_COLOR is set or TERM is dumb.
bool UseColors(ColorMode mode, int fd);

// SGR codes, and nothing without colours.
enum class Color { kRed, kYellow, kGreen, kBold, kDim };
std::string Colored(std::string_view text, Color color, bool colors);

struct TerminalSize {
  size_t columns = 80;
  size_t rows = 24;
};
TerminalSize SizeOf(int fd);  // 80 × 24 when it is no terminal
std::optional<size_t> KnownColumns(int fd);  // of a terminal that tells

// What SIGINT and SIGTERM do: end the program (as at its start), set a flag (a second one ends the program), or end it at once
// with a last line on standard error and an exit code. `last_words` must live for ever.
void CatchInterrupts();
void ExitOnInterrupt(std::string_view last_words, int code);
bool Interrupted();

// Returns early when a signal comes.
void Pause(std::chrono::nanoseconds span);

// Takes over the terminal of standard output: another screen, no cursor, keys without Enter. The destructor gives it back, and so
// do SIGINT, SIGTERM, SIGHUP and SIGQUIT, which end the program with code 0, and SIGTSTP for as long as it is stopped. One at a time.
class Screen {
 public:
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // Shows `text`, cut to the size of the terminal. In one write and without clearing first, so that nothing flickers.
  void Draw(const std::string& text);
  // A key, 0 when none came in time or the terminal changed its size.
  char WaitForKey(std::chrono::nanoseconds span);
};

// `text` cut to `columns`; escape sequences take none and stay.
std::string CutToWidth(std::string_view text, size_t columns);

}  // namespace glintfs::ctl
