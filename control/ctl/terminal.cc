// What a signal handler does here is write(2), tcsetattr(3), sigaction(2), raise(3) and _exit(2): all async-signal-safe. So a
// screen is given back even while a request hangs.
#include "control/ctl/terminal.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

namespace glintfs::ctl {
namespace {

constexpr std::string_view kEnter = "\033[?1049h\033[?25l\033[H\033[2J";
constexpr std::string_view kLeave = "\033[?25h\033[?1049l";

volatile sig_atomic_t interrupted = 0;
// Set before the handlers that read them are installed.
std::string_view last_words;
int exit_code = 0;
bool has_keys = false;  // standard input is a terminal; `before` and `during` are its modes
termios before, during;

void Write(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void OnSignal(int number, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(number, &action, nullptr);  // without SA_RESTART: a pause ends
}

void EnterScreen() {
  if (has_keys) ::tcsetattr(STDIN_FILENO, TCSANOW, &during);
  Write(STDOUT_FILENO, kEnter);
}
void LeaveScreen() {
  Write(STDOUT_FILENO, kLeave);
  if (has_keys) ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

void StopAndGoOn(int) {
  LeaveScreen();
  OnSignal(SIGTSTP, SIG_DFL, 0);
  ::raise(SIGTSTP);  // stops here, until SIGCONT
  OnSignal(SIGTSTP, StopAndGoOn, SA_NODEFER);
  EnterScreen();
}

}  // namespace

bool UseColors(ColorMode mode, int fd) {
  switch (mode) {
    case ColorMode::kAlways: return true;
    case ColorMode::kNever: return false;
    case ColorMode::kAuto: break;
  }
  const char* const no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != '\0') return false;
  const char* const term = std::getenv("TERM");
  return ::isatty(fd) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

std::string Colored(std::string_view text, Color color, bool colors) {
  if (!colors) return std::string(text);
  switch (color) {
    case Color::kRed: return fmt::format("\033[31m{}\033[0m", text);
    case Color::kYellow: return fmt::format("\033[33m{}\033[0m", text);
    case Color::kGreen: return fmt::format("\033[32m{}\033[0m", text);
    case Color::kBold: return fmt::format("\033[1m{}\033[0m", text);
    case Color::kDim: return fmt::format("\033[2m{}\033[0m", text);
  }
  return std::string(text);
}

TerminalSize SizeOf(int fd) {
  winsize size{};
  TerminalSize result;
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return result;
  if (size.ws_col > 0) result.columns = size.ws_col;
  if (size.ws_row > 0) result.rows = size.ws_row;
  return result;
}

std::optional<size_t> KnownColumns(int fd) {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? std::optional<size_t>(size.ws_col) : std::nullopt;
}

void CatchInterrupts() {
  for (const int number : {SIGINT, SIGTERM}) OnSignal(number, [](int) { interrupted = 1; }, SA_RESETHAND);
}

void ExitOnInterrupt(std::string_view words, int code) {
  last_words = words;
  exit_code = code;
  const auto end = [](int) {
    Write(STDERR_FILENO, last_words);
    ::_exit(exit_code);
  };
  for (const int number : {SIGINT, SIGTERM}) OnSignal(number, end, 0);
}

bool Interrupted() { return interrupted != 0; }

void Pause(std::chrono::nanoseconds span) {
  if (Interrupted()) return;
  timespec time{};
  time.tv_sec = static_cast<time_t>(span.count() / 1'000'000'000);
  time.tv_nsec = static_cast<long>(span.count() % 1'000'000'000);
  ::nanosleep(&time, nullptr);
}

Screen::Screen() {
  has_keys = ::isatty(STDIN_FILENO) == 1 && ::tcgetattr(STDIN_FILENO, &before) == 0;
  during = before;
  during.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);  // ISIG stays: Ctrl-C and Ctrl-Z are signals
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    OnSignal(number, [](int) {
      LeaveScreen();
      ::_exit(0);
    }, 0);
  }
  OnSignal(SIGTSTP, StopAndGoOn, SA_NODEFER);
  OnSignal(SIGWINCH, [](int) {}, 0);  // ends the wait for a key
  EnterScreen();
}

Screen::~Screen() {
  LeaveScreen();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH}) OnSignal(number, SIG_DFL, 0);
}

void Screen::Draw(const std::string& text) {
  const TerminalSize size = SizeOf(STDOUT_FILENO);
  std::string frame = "\033[H";
  size_t rows = 0;
  for (size_t at = 0; at < text.size() && rows < size.rows; ++rows) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (rows > 0) frame += "\r\n";
    frame += CutToWidth(std::string_view(text).substr(at, end - at), size.columns) + "\033[K";
    at = end + 1;
  }
  Write(STDOUT_FILENO, frame + "\033[J");
}

char Screen::WaitForKey(std::chrono::nanoseconds span) {
  const int milliseconds = static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(span).count());
  pollfd input{STDIN_FILENO, POLLIN, 0};
  if (!has_keys) input.fd = -1;
  if (::poll(&input, 1, milliseconds) <= 0) return 0;
  char key = 0;
  // A terminal that has gone away reads as its end.
  return ::read(STDIN_FILENO, &key, 1) == 1 ? key : 'q';
}

std::string CutToWidth(std::string_view text, size_t columns) {
  std::string out;
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '\033') {  // "ESC [ digits letter": takes no column
      const size_t end = std::min(text.find_first_of("mKJH", at), text.size() - 1);
      out += text.substr(at, end + 1 - at);
      at = end + 1;
      continue;
    }
    size_t next = at + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0) == 0x80) ++next;
    if (width < columns) out += text.substr(at, next - at);
    ++width;
    at = next;
  }
  return out;
}

}  // namespace glintfs::ctl
