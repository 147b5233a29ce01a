// docs/control-api.md names every route, metric and exit code.
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>

#include "control/ctl/exit_code.h"
#include "control/metrics.h"
#include "control/server.h"
#include "tests/control/fake_service.h"

namespace glintfs::testing {
namespace {

std::string Document() {
  std::ifstream file(GLINTFS_SOURCE_DIR "/docs/control-api.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(ControlApiDocumentTest, NamesEveryRoute) {
  const std::string document = Document();
  FakeService service;
  const Router router = MakeControlRouter(service);
  ASSERT_FALSE(router.routes().empty());
  for (const Route& route : router.routes()) {
    EXPECT_NE(document.find("`" + route.verb + " " + route.pattern + "`"), std::string::npos)
        << route.verb << " " << route.pattern;
  }
}

TEST(ControlApiDocumentTest, NamesEveryMetric) {
  const std::string document = Document(), page = RenderMetrics({}, {});
  const std::regex type("# TYPE ([a-z_]+) ");
  int families = 0;
  for (std::sregex_iterator it(page.begin(), page.end(), type), end; it != end; ++it, ++families) {
    EXPECT_NE(document.find("`" + it->str(1) + "`"), std::string::npos) << it->str(1);
  }
  EXPECT_GT(families, 20);
}

TEST(ControlApiDocumentTest, ListsTheExitCodes) {
  const std::string document = Document();
  for (const ctl::ExitCodeText& exit : ctl::ExitCodes()) {
    EXPECT_NE(document.find("| " + std::to_string(exit.code) + " | " + std::string(exit.meaning) + " |"), std::string::npos)
        << exit.meaning;
  }
}

TEST(ControlApiDocumentTest, ListsEverySituation) {
  const std::string document = Document();
  const auto cell = [](int number, int none) { return number == none ? std::string("–") : std::to_string(number); };
  for (const ctl::Situation& situation : ctl::Situations()) {
    const std::string step = situation.next_step.empty() ? "–" : std::string(situation.next_step);
    const std::string row = "| " + std::string(situation.name) + " | " + cell(situation.status, 0) + " | " + cell(situation.code, -1) + " | " +
                            std::string(situation.when) + " | " + step + " |";
    EXPECT_NE(document.find(row), std::string::npos) << row;
  }
}

}  // namespace
}  // namespace glintfs::testing
