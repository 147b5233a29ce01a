// ControlTest: a control server over a FakeService on a socket of its own.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "control/server.h"
#include "tests/control/fake_service.h"
#include "tests/control/raw_client.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {

class ControlTest : public ::testing::Test {
 protected:
  void StartServer(const HttpLimits& limits = {}) {
    auto started = ControlServer::Start({dir_ / "control.sock", std::nullopt, limits}, service_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(started).value();
  }
  void TearDown() override { service_.OpenGate(); }

  std::string path() const { return dir_ / "control.sock"; }
  RawReply Ask(const std::string& verb, const std::string& target, const std::string& headers = "",
               const std::string& body = "") {
    return testing::Ask(path(), verb, target, headers, body);
  }
  static nlohmann::json Json(const RawReply& reply) { return nlohmann::json::parse(reply.body, nullptr, false); }

  TempDir dir_;
  FakeService service_;
  std::unique_ptr<ControlServer> server_;
};

}  // namespace glintfs::testing
