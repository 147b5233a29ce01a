#include "control/ctl/command_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "control/ctl/exit_code.h"
#include "control/ctl/man_page.h"
#include "control/ctl/names.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

struct CallForMan : CLI::Success {
  CallForMan() : CLI::Success("CallForMan", "", CLI::ExitCodes::Success) {}
};

// Fails to parse what is not one of the option's values.
void OneOf(CLI::Option* option) {
  option->check(CLI::IsMember(ValuesOf(option->get_lnames().front())).description(""));
}

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

CLI::Option* AddNames(CLI::App* command, CtlOptions& options, bool required = true) {
  auto* names = command->add_option("NAME", options.names, "Image, as named below the mount: dir/disk.img");
  names->type_name("");
  if (required) names->required();
  return names;
}

void AddMatch(CLI::App* command, CtlOptions& options, const std::string& help) {
  command->add_option("-m,--match", options.globs, help)
      ->type_name("GLOB")
      ->expected(1)
      ->allow_extra_args(false)  // what follows is a name; and CLI11 would take the brackets of "[ab]" off
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::Validator([](std::string& text) { return IsGlob(text) ? std::string() : "'" + text + "' is no GLOB: a [ without its ], or a \\ at the end"; }, ""));
}

// Names, or globs over those that the daemon knows.
void AddNamesOrMatch(CLI::App* command, CtlOptions& options, const std::string& whose) {
  AddNames(command, options, false);
  AddMatch(command, options, whose + " whose names match, see cache --match. May be repeated");
}

void AddTime(CLI::App* command, const std::string& name, std::optional<std::chrono::nanoseconds>& time,
             const std::string& help) {
  const std::string shown = name.substr(name.find("--"));
  command
      ->add_option_function<std::string>(
          name,
          [&time, shown](const std::string& text) {
            auto duration = ParseDuration(text);
            if (!duration) throw CLI::ValidationError(shown, duration.error().message);
            if (duration->count() <= 0) throw CLI::ValidationError(shown, "must be more than 0");
            time = *duration;
          },
          help)
      ->type_name("TIME");
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
  OneOf(app.add_option_function<std::string>(
         "--color",
         [&options](const std::string& mode) {
           options.color = mode == "always" ? ColorMode::kAlways : mode == "never" ? ColorMode::kNever : ColorMode::kAuto;
         },
         "Colours: auto (on a terminal, unless NO_COLOR is set), always or never")
      ->type_name("WHEN"));
  app.add_flag_callback(
         "--man", [] { throw CallForMan(); }, "Print the manual page")
      ->group("");
}

void AddShowing(CLI::App& app, CtlOptions& options) {
  AddCommand(app, options, "status", "Show source, health, limits, use and counters of the daemon");
  CLI::App* list = AddCommand(app, options, "list", "List the images in the cache");
  OneOf(list->add_option("--state", options.states,
                   "Only those that are absent, partial, complete, verified, invalid, pinned, open or filling; several with commas")
      ->delimiter(',')
      ->type_name("STATE"));
  OneOf(list->add_option("--sort", options.sort, "By name, size, disk (space taken), hits or read (last); the largest and newest first")
            ->type_name("KEY"));
  CLI::App* show = AddCommand(app, options, "show", "Show all that is known about images");
  AddNames(show, options);
  CLI::App* queue =
      AddCommand(app, options, "queue", "List the images that wait to be cached, with the errors of failed attempts. 'queue clear' empties it");
  queue->add_option("ACTION", options.queue_action, "clear: empty the queue")
      ->type_name("")
      ->check(CLI::IsMember(std::vector<std::string>{"clear"}).description(""));
  queue->add_flag("--clear", options.clear, "Empty the queue, as 'queue clear'");
}

void AddWatching(CLI::App& app, CtlOptions& options) {
  CLI::App* top = AddCommand(app, options, "top", "Watch the daemon work: throughput, hits, fills, slow fetches. q ends it");
  AddTime(top, "-d,--delay", options.interval, "Time between two looks. Default: 1s");
  top->add_option("-n,--count", options.count, "End after so many looks, 1 or more. Default: go on until q or Ctrl-C")
      ->type_name("COUNT")
      ->check(CLI::Range(1, 1'000'000).description(""));
  top->add_flag("-b,--batch", options.batch, "A block of text for each look, as when the output is no terminal. With --json an object per line");
  CLI::App* events = AddCommand(app, options, "events", "Follow what happens: the last ten events, then each as it comes, until Ctrl-C");
  events->add_option("GLOB", options.names, "Only events of images with these names, see cache --match")->type_name("");
  events->add_flag("-f,--follow,!--no-follow", options.follow, "Follow (the default); --no-follow prints what is kept and ends");
  events->add_flag("--since-start", options.since_start, "Begin with the oldest event that is kept");
  events->add_option("-n,--lines", options.tail, "Begin with so many events. Default: 10, with --no-follow all")->type_name("COUNT");
  OneOf(events->add_option("--type", options.types,
                     "Only queued, cancelled, filled, verified, damaged, repaired, invalid, evicted, error, source-away, source-back, settings; several with commas")
      ->delimiter(',')
      ->type_name("TYPE"));
}

void AddCaching(CLI::App& app, CtlOptions& options) {
  CLI::App* cache =
      AddCommand(app, options, "cache", "Ask the daemon to cache whole images now, or as soon as their turn comes");
  AddNames(cache, options, false);
  cache->add_flag("--all", options.all, "All images of the source");
  AddMatch(cache, options,
           "Images of the source by whole name: * and ? within one part of it, ** for any number of parts. '*.qcow2' is in "
           "the root, '**/*.qcow2' anywhere, 'dir/**' below dir. May be repeated");
  cache->add_option("-F,--from-file", options.from_file,
                    "Names from a file, one per line; blank lines and those that begin with # do not count. -: standard input")
      ->type_name("FILE");
  cache->add_flag("--now", options.now, "Before all others, also before what is being cached; that goes on afterwards");
  auto* wait = cache->add_flag("-w,--wait", options.wait,
                  "Wait until they are cached, and verified where there is a checksum, and show the progress: the default on a terminal. Ctrl-C ends the waiting only");
  cache->add_flag("--background", options.background, "Return once they are queued: the default when not on a terminal")->excludes(wait);
  AddTime(cache, "--timeout", options.timeout, "Where it waits: no longer than this, asking included: 90s, 10m, 2h");
  AddNamesOrMatch(AddCommand(app, options, "cancel", "Take images off the queue and stop their fills. What is cached of them stays"), options,
                  "Images that are queued or being cached");
  CLI::App* verify = AddCommand(app, options, "verify",
                                "Read cached images again and compare with their hashes and the source's checksum; bad parts are fetched "
                                "again. Waits for the results");
  AddNamesOrMatch(verify, options, "Images in the cache");
  verify->add_flag("--all", options.all, "All that is cached");
  verify->add_flag("--background", options.background, "Do not wait; 'glintctl show' and 'glintctl events' tell the results");
  AddTime(verify, "--timeout", options.timeout, "No longer than this, asking included");
}

void AddRemoving(CLI::App& app, CtlOptions& options) {
  CLI::App* evict = AddCommand(app, options, "evict", "Remove images from the cache and from the queue");
  AddNamesOrMatch(evict, options, "Images in the cache");
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
  AddNamesOrMatch(AddCommand(app, options, "pin", "Keep images from being evicted. They need not be cached yet"), options, "Images in the cache");
  AddNamesOrMatch(AddCommand(app, options, "unpin", "Let images be evicted again"), options, "Pinned images");
  AddCommand(app, options, "pins", "List the images that are pinned");
}

void AddDaemon(CLI::App& app, CtlOptions& options) {
  CLI::App* get = AddCommand(app, options, "get", "Show settings: value, default, and whether set can change them");
  get->add_option("SETTING", options.names, "Name of a setting. Default: all")->type_name("");
  CLI::App* set = AddCommand(app, options, "set", "Change settings of the running daemon, all or none, until its next start");
  set->add_option("NAME=VALUE", options.names, "Setting and value, as with -o: max_size=20Gi")->type_name("")->required();
  AddCommand(app, options, "doctor", "Look at what glintfs depends on, here and in the daemon, and say what to do");
}

void CheckTogether(const CtlOptions& options) {
  const bool chosen = options.all || !options.globs.empty() || !options.from_file.empty();
  for (const char* command : {"evict", "verify", "pin", "unpin", "cancel"}) {
    if (options.command != command) continue;
    const bool takes_all = options.command == "evict" || options.command == "verify", named = !options.names.empty() || !options.globs.empty();
    if (options.all && named) throw CLI::ValidationError(command, "--all is everything: it goes with nothing else");
    if (!options.all && !named)
      throw CLI::ValidationError(command, takes_all ? "name images, or give --match GLOB or --all" : "name images, or give --match GLOB");
  }
  if (options.command == "cache") {
    if (!chosen && options.names.empty())
      throw CLI::ValidationError("cache", "name images, or give --all, --match GLOB or --from-file FILE");
    if (options.all && (!options.names.empty() || !options.globs.empty() || !options.from_file.empty()))
      throw CLI::ValidationError("cache", "--all is everything: it goes with nothing else");
    if (options.timeout && !ShallWait(options)) throw CLI::ValidationError("--timeout", "goes with --wait");
  }
  if (options.command == "verify" && options.timeout && options.background)
    throw CLI::ValidationError("--timeout", "does not go with --background");
  if (options.command == "set") {
    for (const std::string& text : options.names)
      if (text.find('=') == std::string::npos || text.front() == '=')
        throw CLI::ValidationError("set", fmt::format("'{}' is not NAME=VALUE, as in max_size=20Gi", text));
  }
}

// "Unknown command statsu. Did you mean status? ". Empty when there is no such word.
std::string UnknownWord(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> commands;
  const CLI::App* chosen = nullptr;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(command->get_name());
    for (int i = 1; i < argc; ++i)
      if (chosen == nullptr && commands.back() == argv[i]) chosen = command;
  }
  std::vector<std::string> options;
  for (const CLI::App* part : {&app, chosen})
    for (const CLI::Option* option : part != nullptr ? part->get_options() : std::vector<const CLI::Option*>())
      for (const std::string& name : option->get_lnames()) options.push_back("--" + name);
  for (int i = 1; i < argc; ++i) {
    const std::string argument = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
    const bool option = argument.starts_with("--");
    if (!option && (chosen != nullptr || argument.starts_with("-"))) continue;
    const CLI::Option* const before = i > 1 ? app.get_option_no_throw(argv[i - 1]) : nullptr;
    if (before != nullptr && before->get_items_expected_max() > 0) continue;  // its value
    const auto& known = option ? options : commands;
    if (std::find(known.begin(), known.end(), argument) != known.end()) continue;
    const auto near = NearestNames(argument, known, 1);
    return fmt::format("Unknown {} {}. {}", option ? "option" : "command", argument,
                       near.empty() ? "" : fmt::format("Did you mean {}? ", near[0]));
  }
  return "";
}

}  // namespace

// The types of events are those of control/operations.h, which glintctl does not link.
std::vector<std::string> ValuesOf(const std::string& option) {
  if (option == "color") return {"auto", "always", "never"};
  if (option == "sort") return {"name", "size", "disk", "hits", "read"};
  if (option == "state") return {"absent", "partial", "complete", "verified", "invalid", "pinned", "open", "filling"};
  if (option == "type")
    return {"queued", "cancelled", "filled", "verified", "damaged", "repaired", "invalid", "evicted", "error", "source-away", "source-back", "settings"};
  return {};
}

ArgumentKind ArgumentKindOf(const std::string& command) {
  if (command == "get") return ArgumentKind::kSetting;
  if (command == "set") return ArgumentKind::kSettingValue;
  for (const char* with_images : {"show", "cache", "cancel", "verify", "evict", "pin", "unpin", "events"})
    if (command == with_images) return ArgumentKind::kImage;
  return ArgumentKind::kNone;
}

bool ShallWait(const CtlOptions& options) {
  if (options.wait || options.background) return options.wait;
  return ::isatty(STDERR_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1 && !options.quiet && !options.json;
}

std::unique_ptr<CLI::App> BuildCommandLine(CtlOptions& options) {
  auto app = std::make_unique<CLI::App>("control a running glintfs daemon", "glintctl");
  app->set_version_flag("--version", "glintctl " GLINTFS_VERSION, "Print the version");
  app->set_help_flag("-h,--help", "Print this help");
  app->require_subcommand(1);
  app->get_formatter()->column_width(28);
  app->footer(Footer());
  AddGlobal(*app, options);
  AddShowing(*app, options);
  AddWatching(*app, options);
  AddCaching(*app, options);
  AddRemoving(*app, options);
  AddDaemon(*app, options);
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
    const std::string unknown = UnknownWord(*app, argc, argv);
    fmt::print(stderr, "glintctl: {}glintctl --help tells what there is\n",
               unknown.empty() ? std::string(error.what()) + ". " : unknown);
    return kExitUsage;
  }
}

}  // namespace glintfs::ctl
