// Completion in real shells: bash and zsh load the scripts and ask glintctl.
#include <unistd.h>

#include <filesystem>
#include <regex>
#include <sstream>

#include "tests/control/ctl_test.h"

namespace glintfs::testing {
namespace {

class CompletionTest : public GlintctlTest {
 protected:
  void SetUp() override {
    GlintctlTest::SetUp();
    service_.SetSource({{"", {{"a b.img", false}, {"deb.img", false}, {"dir", true}}}, {"dir", {{"dir/c.img", false}, {"dir/d.img", false}}}});
    service_.SetSettings({{"max_size", "", "", "", "", true}, {"min_free", "", "", "", "", true}, {"chunk", "", "", "", "", false},
                          {"log_level", "info", "info", "debug, info, warn or error", "", true}});
  }
  static std::string Script(const std::string& name) { return GLINTFS_SOURCE_DIR "/completion/" + name; }
  std::map<std::string, std::string> Environment() const {
    return {{"GLINTFS_CONTROL", path()}, {"PATH", std::filesystem::path(GLINTCTL).parent_path().string() + ":/usr/bin:/bin"}, {"TERM", "dumb"}};
  }
  std::vector<std::string> Program(std::vector<std::string> words) {
    words.insert(words.begin(), {GLINTCTL, "__complete"});
    return Lines(Execute(words, Environment()).out);
  }
  // What bash has in COMPREPLY for these words, the last one being completed.
  std::vector<std::string> Bash(const std::string& script, const std::string& words) {
    const ProcessResult result = Execute({"/bin/bash", "--norc", "-c",
                                          "source " + Script(script) + "; COMP_WORDS=(" + words +
                                              "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); function=$(complete -p \"${COMP_WORDS[0]}\"); "
                                              "function=${function#complete -F }; ${function%% *} 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\""},
                                         Environment());
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return Lines(result.out);
  }
  static std::vector<std::string> Lines(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);)
      if (!line.empty()) lines.push_back(line);
    return lines;
  }
};

using Words = std::vector<std::string>;

TEST_F(CompletionTest, TheProgramKnows) {
  EXPECT_EQ(Program({"ca"}), (Words{"cache", "cancel"}));
  EXPECT_EQ(Program({"cache", "--m"}), Words{"--match"});
  EXPECT_EQ(Program({"cache", "de"}), Words{"deb.img"});
  EXPECT_EQ(Program({"cache", "d"}), (Words{"deb.img", "dir/"}));
  EXPECT_EQ(Program({"cache", "dir/"}), (Words{"dir/c.img", "dir/d.img"}));
  EXPECT_EQ(Program({"cache", "dir/c.img", "dir/"}), Words{"dir/d.img"}) << "each once";
  EXPECT_EQ(Program({"show", ""}), (Words{"b.img", "dir/a.img"}));
  EXPECT_EQ(Program({"unpin", ""}), Words{}) << "none is pinned";
  ASSERT_TRUE(service_.SetPinned("later.img", true));
  EXPECT_EQ(Program({"unpin", ""}), Words{"later.img"}) << "also one that is not cached";
  EXPECT_EQ(Program({"set", "m"}), (Words{"max_size=", "min_free="}));
  EXPECT_EQ(Program({"set", "log_level=d"}), Words{"log_level=debug"});
  EXPECT_EQ(Program({"set", "max_size="}), Words{});
  EXPECT_EQ(Program({"queue", "clear", ""}), Words{});
  EXPECT_EQ(Program({"cache", "--", "--"}), Words{}) << "names only";
  EXPECT_EQ(Program({"get", "c"}), Words{"chunk"});
  EXPECT_EQ(Program({"list", "--state", "ver"}), Words{"verified"});
  EXPECT_EQ(Program({"list", "--sort=s"}), Words{"--sort=size"});
  EXPECT_EQ(Program({"--color", "al"}), Words{"always"});
  EXPECT_EQ(Program({"queue", ""}), Words{"clear"});
  EXPECT_EQ(Program({"nonsense", ""}).size(), Program({""}).size()) << "commands";
  EXPECT_EQ(Program({"prune", "--to", ""}), Words{});
}

TEST_F(CompletionTest, EveryCommandAndOptionOfHelpIsOffered) {
  const auto commands = Program({""});
  EXPECT_GE(commands.size(), 18u);
  for (const std::string& command : commands) {
    const std::string help = Execute({GLINTCTL, command, "--help"}).out;
    const auto options = Program({command, "--"});
    std::istringstream lines(help);
    const std::regex shown("^  (?:-[a-zA-Z],)?(--[a-z-]+)");
    std::smatch match;
    int seen = 0;
    for (std::string line; std::getline(lines, line);) {
      if (!std::regex_search(line, match, shown)) continue;
      ++seen;
      EXPECT_NE(std::find(options.begin(), options.end(), match[1]), options.end()) << command << " " << match[1];
    }
    EXPECT_GE(seen, 1) << command;  // --help
  }
}

TEST_F(CompletionTest, WithoutADaemonItIsSilent) {
  server_.reset();
  const ProcessResult result = Execute({GLINTCTL, "__complete", "show", ""}, Environment());
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out + result.err, "");
}

TEST_F(CompletionTest, ADaemonThatHangsHoldsNobodyUp) {
  service_.CloseGate();
  const ProcessResult result = Execute({GLINTCTL, "__complete", "cache", "d"}, Environment());
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out + result.err, "");
}

TEST_F(CompletionTest, Bash) {
  EXPECT_EQ(Bash("glintctl.bash", "glintctl sta"), Words{"status"});
  EXPECT_EQ(Bash("glintctl.bash", "glintctl cache d"), (Words{"deb.img", "dir/"}));
  EXPECT_EQ(Bash("glintctl.bash", "glintctl cache a"), Words{"a\\ b.img"});
  EXPECT_EQ(Bash("glintctl.bash", "glintctl cache '\"a'"), Words{"a b.img"});
  EXPECT_EQ(Bash("glintctl.bash", "glintctl list --sort = s"), Words{"size"});
  EXPECT_EQ(Bash("glintctl.bash", "glintctl list --sort ="), (Words{"name", "size", "disk", "hits", "read"}));
  EXPECT_EQ(Bash("glintctl.bash", "glintctl set max"), Words{"max_size="});
  EXPECT_EQ(Bash("glintctl.bash", "glintctl set max_size ="), Words{});
  EXPECT_EQ(Bash("glintctl.bash", "glintctl set log_level = d"), Words{"debug"});
}

TEST_F(CompletionTest, BashForGlintfs) {
  if (::access((std::filesystem::path(GLINTCTL).parent_path() / "glintfs").c_str(), X_OK) != 0) GTEST_SKIP() << "glintfs is not built";
  EXPECT_EQ(Bash("glintfs.bash", "glintfs dir:///x /mnt -o max_s"), Words{"max_size="});
  EXPECT_EQ(Bash("glintfs.bash", "glintfs dir:///x /mnt -o log = stderr,max_s"), Words{"stderr,max_size="});
  EXPECT_EQ(Bash("glintfs.bash", "glintfs dir:///x /mnt -o log = max_s"), Words{}) << "a value";
  EXPECT_EQ(Bash("glintfs.bash", "glintfs dir:///x /mnt -o anonymous,max_s"), Words{"anonymous,max_size="});
  EXPECT_EQ(Bash("glintfs.bash", "glintfs di"), Words{"dir://"});
  EXPECT_EQ(Bash("glintfs.bash", "glintfs --dump"), Words{"--dump-config"});
}

// A shell on a terminal, as it is used: what Tab makes of a line.
TEST_F(CompletionTest, TabInBash) {
  Subprocess::Options options = OnScreen();
  options.environment = Environment();
  options.environment["PS1"] = "ready> ";
  Subprocess shell({"/bin/bash", "--norc", "--noprofile", "-i"}, options);
  ASSERT_TRUE(WaitFor([&] { return Contains(shell.ErrorSoFar(), "ready> "); })) << shell.ErrorSoFar();
  shell.Type("source " + Script("glintctl.bash") + "; echo load''ed\n");
  ASSERT_TRUE(WaitFor([&] { return Contains(shell.ErrorSoFar(), "loaded"); })) << shell.ErrorSoFar();
  shell.Type("glintctl sho\tb\t");
  EXPECT_TRUE(WaitFor([&] { return Contains(shell.ErrorSoFar(), "glintctl show b.img "); })) << shell.ErrorSoFar();
  shell.Type("\x15" "exit\n");
  EXPECT_EQ(shell.Wait().code, 0);
}

TEST_F(CompletionTest, TabInZsh) {
  if (::access("/bin/zsh", X_OK) != 0) GTEST_SKIP() << "needs zsh";
  Subprocess::Options options = OnScreen();
  options.environment = Environment();
  Subprocess shell({"/bin/zsh", "-f", "-i"}, options);
  shell.Type("unset zle_bracketed_paste; PS1='ready> '; fpath=(" GLINTFS_SOURCE_DIR "/completion $fpath); "
             "autoload -U compinit; compinit -D -u; echo load''ed\n");
  ASSERT_TRUE(WaitFor([&] { return Contains(shell.ErrorSoFar(), "loaded"); })) << shell.ErrorSoFar();
  ASSERT_TRUE(WaitFor([&] { return Contains(shell.ErrorSoFar(), "ready> "); })) << shell.ErrorSoFar();
  // Each Tab once the one before has been answered: with keys waiting zsh does less.
  const auto tab = [&](const std::string& keys, const std::string& shown) {
    const size_t before = shell.ErrorSoFar().size();
    shell.Type(keys + "\t");
    EXPECT_TRUE(WaitFor([&] { return Contains(shell.ErrorSoFar().substr(before), shown); })) << keys << ": " << shell.ErrorSoFar();
  };
  tab("glintctl sho", "w ");
  tab("b", ".img ");
  tab("\x15" "glintctl cache di", "r/");
  tab("c", ".img ");
  shell.Type("\x15" "exit\n");
  EXPECT_EQ(shell.Wait().code, 0);
}

}  // namespace
}  // namespace glintfs::testing
