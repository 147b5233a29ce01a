// GlintctlTest: glintctl as its users run it, against a server with a FakeService.
#pragma once

#include "tests/control/control_test.h"
#include "tests/control/subprocess.h"
#include "tests/support/wait.h"

namespace glintfs::testing {

class GlintctlTest : public ControlTest {
 protected:
  void SetUp() override {
    StartServer();
    service_.AddImage(MakeImage("dir/a.img", 4 << 20, ImageState::kPartial, 1 << 20));
    service_.AddImage(MakeImage("b.img", 2000, ImageState::kVerified, 2000));
  }
  std::vector<std::string> Command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {GLINTCTL, "-s", path()});
    return arguments;
  }
  ProcessResult Ctl(const std::vector<std::string>& arguments, const std::string& input = "") {
    return Execute(Command(arguments), {}, input);
  }
  static Subprocess::Options OnTerminal() {  // standard error only
    Subprocess::Options options;
    options.terminal = true;
    return options;
  }
  static Subprocess::Options OnScreen(unsigned short rows = 24, unsigned short columns = 100) {
    Subprocess::Options options;
    options.all_terminal = true;
    options.rows = rows;
    options.columns = columns;
    return options;
  }
  // Runs it with --json and parses what it says.
  nlohmann::json CtlJson(std::vector<std::string> arguments, int code = 0) {
    arguments.push_back("--json");
    const ProcessResult result = Ctl(arguments);
    EXPECT_EQ(result.code, code) << result.err;
    nlohmann::json parsed = nlohmann::json::parse(result.out, nullptr, false);
    EXPECT_TRUE(parsed.is_object()) << result.out;
    return parsed;
  }
  // What a search for the socket sees.
  std::map<std::string, std::string> OnlyIn(const std::string& directory) {
    return {{"GLINTFS_RUNTIME_DIR", directory}};
  }
};

inline bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace glintfs::testing
