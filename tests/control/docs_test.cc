// docs/control-api.md names every route, metric and exit code.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
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

std::string ReadDoc(const std::string& name) {
  std::ifstream file(GLINTFS_SOURCE_DIR "/docs/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// What a query names must be on the page; of histograms the parts are.
void ExpectMetricsExist(const std::string& query) {
  ServiceStatus status;
  status.backend.backend = "rbd";
  const std::string page = RenderMetrics(status, {});
  const std::regex metric("(glintfs|process)_[a-z_]+");
  for (std::sregex_iterator it(query.begin(), query.end(), metric), end; it != end; ++it) {
    const bool there = page.find("\n" + it->str() + " ") != std::string::npos || page.find("\n" + it->str() + "{") != std::string::npos;
    EXPECT_TRUE(there) << it->str() << " in " << query;
  }
}

// What the figures of a query are: they go on one axis with others of their kind only.
std::string KindOf(const std::string& query) {
  for (const char* function : {"histogram_quantile(", "increase(", "rate("}) {
    if (query.find(function) != std::string::npos) return function;
  }
  return "as it is";
}

TEST(DashboardTest, IsGrafanasJsonOfMetricsThatExist) {
  const auto board = nlohmann::json::parse(ReadDoc("grafana/glintfs.json"));
  EXPECT_GE(board["schemaVersion"], 36);
  std::set<int> ids;
  int queries = 0;
  for (const auto& panel : board["panels"]) {
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second);
    EXPECT_LE(panel["gridPos"]["x"].get<int>() + panel["gridPos"]["w"].get<int>(), 24) << panel["title"];
    if (panel["type"] == "row") continue;
    std::set<std::string> kinds, on_the_right;
    for (const auto& override : panel["fieldConfig"]["overrides"]) on_the_right.insert(override["matcher"]["options"]);
    for (const auto& target : panel["targets"]) {
      ++queries;
      ExpectMetricsExist(target["expr"]);
      if (on_the_right.count(target["refId"]) == 0) kinds.insert(KindOf(target["expr"]));
    }
    EXPECT_EQ(kinds.size(), 1u) << panel["title"] << " has one axis for several kinds of figures";
  }
  EXPECT_GT(queries, 30);
}

TEST(AlertsTest, AreOfMetricsThatExistAndTellWhatToDo) {
  const std::string rules = ReadDoc("alerts/glintfs.rules.yml"), manual = ReadDoc("operating.md");
  const std::regex alert("alert: (\\w+)"), expression("expr: ([^\n]*(\n {10}[^\n]*)*)");
  int alerts = 0;
  for (std::sregex_iterator it(rules.begin(), rules.end(), alert), end; it != end; ++it, ++alerts) {
    std::string anchor = it->str(1);
    EXPECT_NE(manual.find("### " + anchor + "\n"), std::string::npos) << anchor;
    std::transform(anchor.begin(), anchor.end(), anchor.begin(), ::tolower);
    EXPECT_NE(rules.find("runbook: docs/operating.md#" + anchor + "\n"), std::string::npos) << anchor;
  }
  EXPECT_GE(alerts, 10);
  for (std::sregex_iterator it(rules.begin(), rules.end(), expression), end; it != end; ++it) ExpectMetricsExist(it->str(1));
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
