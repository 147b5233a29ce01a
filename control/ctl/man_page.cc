#include "control/ctl/man_page.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "control/ctl/exit_code.h"
#include "fs/base/roff.h"

namespace glintfs::ctl {
namespace {

// Text as roff: a backslash and a leading dot or quote would be commands, a plain '-' would become a hyphen.
std::string Roff(std::string_view text) {
  std::string out;
  if (!text.empty() && (text.front() == '.' || text.front() == '\'')) out += "\\&";
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

bool IsHidden(const CLI::Option* option) { return option->get_group().empty(); }

std::string OptionTerm(const CLI::Option* option) {
  std::string names = option->get_name(false, true);
  for (size_t at; (at = names.find("{false}")) != names.npos;) names.erase(at, 7);
  for (size_t at = names.find(','); at != names.npos; at = names.find(',', at + 2)) names.replace(at, 1, ", ");
  std::string term = "\\fB" + Roff(names) + "\\fR";
  if (option->get_expected_max() > 0 && !option->get_type_name().empty()) {
    term += " \\fI" + Roff(option->get_type_name()) + "\\fR";
  }
  return term;
}

std::string OptionEntries(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    if (IsHidden(option) || option->get_positional()) continue;
    text += fmt::format(".TP\n{}\n{}.\n", OptionTerm(option), Roff(option->get_description()));
    if (!option->get_envname().empty())
      text += Roff("Also read from the environment: " + option->get_envname() + ".") + "\n";
  }
  return text;
}

std::string CommandEntry(const CLI::App& command) {
  std::string synopsis = "\\fB" + command.get_name() + "\\fR";
  std::string options;
  for (const CLI::Option* option : command.get_options()) {
    if (IsHidden(option)) continue;
    if (option->get_positional()) {
      const std::string name = "\\fI" + option->get_name(true) + (option->get_expected_max() > 1 ? "\\fR ..." : "\\fR");
      synopsis += option->get_required() ? " " + name : " [" + name + "]";
    } else if (option->get_name() != "--help") {
      synopsis += " [" + OptionTerm(option) + "]";
      options += fmt::format(".TP\n{}\n{}.\n", OptionTerm(option), Roff(option->get_description()));
    }
  }
  std::string text = fmt::format(".TP\n{}\n{}.\n", synopsis, Roff(command.get_description()));
  if (!options.empty()) text += ".RS\n" + options + ".RE\n";
  return text;
}

constexpr std::string_view kDescription =
    "asks a running\n.BR glintfs (8)\ndaemon through its control socket what it caches, and tells it what to cache, "
    "keep and "
    "remove.\nAn image is named as below the mount, with slashes: \\fIdir/disk.img\\fR.\n"
    "Progress and errors go to standard error, results to standard output. What is wrong is one line: \\fBglintctl:\\fR subject: what. "
    "What to do next.\n";

constexpr std::string_view kExamples =
    ".nf\n"
    "glintctl status\n"
    "glintctl cache \\-\\-wait debian\\-12.qcow2 && echo cached\n"
    "glintctl cache \\-\\-match 'release/**/*.qcow2' \\-\\-background\n"
    "glintctl cache \\-\\-from\\-file images.txt \\-\\-wait \\-\\-timeout 2h\n"
    "glintctl cache \\-\\-now urgent.img\n"
    "glintctl events \\-\\-type filled,error \\-\\-json\n"
    "glintctl verify \\-\\-all\n"
    "glintctl set max_size=200Gi fill_rate=50Mi\n"
    "glintctl top \\-d 5s\n"
    "glintctl doctor\n"
    "glintctl prune \\-\\-to 5G \\-\\-dry\\-run\n"
    "glintctl list \\-\\-json | jq \\-r '.images[] | select(.state == \"partial\") | .name'\n"
    ".fi\n";

}  // namespace

std::string ManPage(const CLI::App& app, std::string_view version) {
  std::string text = fmt::format(".TH GLINTCTL 1 \"\" \"glintfs {}\" \"User Commands\"\n", version);
  text += fmt::format(".SH NAME\nglintctl \\- {}\n", Roff(app.get_description()));
  text += ".SH SYNOPSIS\n.B glintctl\n[\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]\n";
  text += fmt::format(".SH DESCRIPTION\n.B glintctl\n{}", kDescription);
  text += ".SH OPTIONS\nThese may stand before or after the command.\n" + OptionEntries(app);
  text += ".SH COMMANDS\n";
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    text += CommandEntry(*command);
  text += ".SH EXIT STATUS\n";
  for (const ExitCodeText& exit : ExitCodes()) {
    text += fmt::format(".TP\n.B {}\n{}.\n", static_cast<int>(exit.code), Roff(exit.meaning));
  }
  text += ".SS Situations\nThe code, and the status of the daemon's answer where there is one.\n";
  for (const Situation& situation : Situations()) {
    if (situation.code < 0) continue;
    const std::string answer = situation.status > 0 ? fmt::format(" (HTTP {})", situation.status) : "";
    text += fmt::format(".TP\n.B {}\n{}: {}{}.\n", situation.code, Roff(situation.name), Roff(situation.when), answer);
  }
  text += ".SH ENVIRONMENT\n.TP\n.B GLINTFS_CONTROL\nThe control socket, as with \\fB\\-s\\fR.\n";
  text += ".TP\n.BR GLINTFS_URL \", \" GLINTFS_TOKEN_FILE \", \" GLINTFS_CA_FILE\nA daemon over TCP, as with \\fB\\-\\-url\\fR, "
          "\\fB\\-\\-token\\-file\\fR, \\fB\\-\\-ca\\-file\\fR.\n";
  text += ".TP\n.B GLINTFS_RUNTIME_DIR\nWhere to look for sockets instead of \\fI/run/glintfs\\fR.\n";
  text += ".TP\n.B NO_COLOR\nIf not empty, no colours unless \\fB\\-\\-color=always\\fR.\n";
  text += fmt::format(".SH EXAMPLES\n{}", kExamples);
  text += ".SH SEE ALSO\n.BR glintfs (8)\n";
  return AsciiRoff(text);
}

}  // namespace glintfs::ctl
