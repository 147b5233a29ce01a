#include "control/ctl/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "control/ctl/exit_code.h"
#include "control/ctl/man_page.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

struct CallForMan : CLI::Success {
  CallForMan() : CLI::Success("CallForMan", "", CLI::ExitCodes::Success) {}
};

std::string Footer() {
  std::string text = "Exit codes:\n";
  for (const ExitCodeText& exit : ExitCodes())
    text += fmt::format("  {}  {}\n", static_cast<int>(exit.code), exit.meaning);
  return text + "\nglintctl COMMAND --help tells more; -s and --json may also follow the command.";
}

CLI::App* AddCommand(CLI::App& app, CtlOptions& options, const std::string& name, const std::string& help) {
  CLI::App* command = app.add_subcommand(name, help);
  command->fallthrough();  // -s and --json may follow the command
  command->callback([&options, name] { options.command = name; });
  return command;
}

void AddNames(CLI::App* command, CtlOptions& options, bool required = true) {
  auto* names = command->add_option("NAME", options.names, "Image, as named below the mount: dir/disk.img");
  names->type_name("");
  if (required) names->required();
}

void AddGlobal(CLI::App& app, CtlOptions& options) {
  app.add_option("-s,--socket", options.socket,
                 "Control socket of the daemon. Default: the only live one in /run/glintfs or $XDG_RUNTIME_DIR/glintfs")
      ->type_name("SOCKET")
      ->envname("GLINTFS_CONTROL");
  app.add_option("--url", options.url, "Ask a daemon over TCP: http://HOST:9393 or https://… Environment: GLINTFS_URL")->type_name("URL");
  app.add_option("--token-file", options.token_file, "File with the token for --url, in its first line")
      ->type_name("FILE")
      ->envname("GLINTFS_TOKEN_FILE");
  app.add_option("--ca-file", options.ca_file, "Authority that signed the daemon's certificate, PEM. Default: the system's")
      ->type_name("FILE")
      ->envname("GLINTFS_CA_FILE");
  app.add_flag("--json", options.json, "Print JSON for programs instead of text for people");
  app.add_flag("-q,--quiet", options.quiet, "Print no progress and no confirmations");
  app.add_flag_callback(
         "--man", [] { throw CallForMan(); }, "Print the manual page")
      ->group("");
}

void AddShowing(CLI::App& app, CtlOptions& options) {
  AddCommand(app, options, "status", "Show source, health, limits, use and counters of the daemon");
  AddCommand(app, options, "list", "List the images in the cache");
  CLI::App* show = AddCommand(app, options, "show", "Show all that is known about images");
  AddNames(show, options);
  CLI::App* queue =
      AddCommand(app, options, "queue", "List the images that wait to be cached, with the errors of failed attempts");
  queue->add_flag("--clear", options.clear, "Empty the queue");
}

void AddCaching(CLI::App& app, CtlOptions& options) {
  CLI::App* cache =
      AddCommand(app, options, "cache", "Ask the daemon to cache whole images now, or as soon as their turn comes");
  AddNames(cache, options);
  cache->add_flag("-w,--wait", options.wait,
                  "Wait until they are cached and show the progress. Ctrl-C ends the waiting only");
  cache
      ->add_option_function<std::string>(
          "--timeout",
          [&options](const std::string& text) {
            auto duration = ParseDuration(text);
            if (!duration) throw CLI::ValidationError("--timeout", duration.error().message);
            options.timeout = *duration;
          },
          "Wait no longer than this: 90s, 10m, 2h")
      ->type_name("TIME");
}

void AddRemoving(CLI::App& app, CtlOptions& options) {
  CLI::App* evict = AddCommand(app, options, "evict", "Remove images from the cache and from the queue");
  AddNames(evict, options, false);
  evict->add_flag("--all", options.all, "Remove everything that is not in use or pinned, and empty the queue");
  CLI::App* prune =
      AddCommand(app, options, "prune", "Remove the least recently used images until the cache is small enough");
  prune
      ->add_option_function<std::string>(
          "--to",
          [&options](const std::string& text) {
            auto size = ParseSize(text);
            if (!size) throw CLI::ValidationError("--to", size.error().message);
            options.prune_to = *size;
          },
          "Size to go down to: 5G is 5*10^9 bytes, 5Gi is 5*2^30. Default: the low mark of the daemon")
      ->type_name("SIZE");
  prune->add_flag("-n,--dry-run", options.dry_run, "Only show what would be removed");
  AddCommand(app, options, "clean", "Remove stalled and invalid images now");
  AddNames(AddCommand(app, options, "pin", "Keep images from being evicted. They need not be cached yet"), options);
  AddNames(AddCommand(app, options, "unpin", "Let images be evicted again"), options);
}

void CheckTogether(const CtlOptions& options) {
  if (options.command == "evict" && options.all != options.names.empty()) {
    throw CLI::ValidationError("evict", options.all ? "--all takes no names" : "name images, or give --all");
  }
  if (options.timeout && !options.wait) throw CLI::ValidationError("--timeout", "goes with --wait");
}

}  // namespace

std::unique_ptr<CLI::App> BuildCommandLine(CtlOptions& options) {
  auto app = std::make_unique<CLI::App>("control a running glintfs daemon", "glintctl");
  app->set_version_flag("--version", "glintctl " GLINTFS_VERSION, "Print the version");
  app->set_help_flag("-h,--help", "Print this help");
  app->require_subcommand(1);
  app->get_formatter()->column_width(28);
  app->footer(Footer());
  AddGlobal(*app, options);
  AddShowing(*app, options);
  AddCaching(*app, options);
  AddRemoving(*app, options);
  app->final_callback([&options] { CheckTogether(options); });
  return app;
}

std::optional<int> ParseCommandLine(int argc, char** argv, CtlOptions& options) {
  const auto app = BuildCommandLine(options);
  try {
    app->parse(argc, argv);
    return std::nullopt;
  } catch (const CallForMan&) {
    std::fputs(ManPage(*app, GLINTFS_VERSION).c_str(), stdout);
    return kExitOk;
  } catch (const CLI::Success& wanted) {
    app->exit(wanted);  // prints
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "glintctl: {}\nglintctl --help tells what there is.\n", error.what());
    return kExitUsage;
  }
}

}  // namespace glintfs::ctl
