// What glintctl prints: results on standard output, what is wrong on standard error as "glintctl: SUBJECT: what. next step".
// With --json standard output is one JSON document, {"error": …} included.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/ctl/client.h"
#include "control/ctl/command_line.h"

namespace glintfs::ctl {

void Print(const std::string& text);
void PrintJson(const nlohmann::json& value);      // indented
void PrintJsonLine(const nlohmann::json& value);  // one line, written at once

// `subject` and `next_step` may be empty.
void PrintFailure(std::string_view subject, const std::string& message, const std::string& next_step = "");

// What to do next about an answer or the lack of one, as a sentence without its full stop; empty when there is nothing to say.
// Asks the daemon what it needs to know.
class Advisor {
 public:
  Advisor(const CtlOptions& options, Client& client) : options_(options), client_(client) {}

  // `message`: of the answer; `name`: the image it is about, may be empty.
  std::string For(int http_status, const std::string& message, const std::string& name);
  std::string For(const Error& error) const;

 private:
  bool OfTheSource() const { return options_.command == "cache" || options_.command == "pin"; }  // what its names are of
  std::string ForUnknown(const std::string& name);
  std::string ForBusy(const std::string& name);
  const std::vector<std::string>& KnownNames();

  const CtlOptions& options_;
  Client& client_;
  std::optional<std::vector<std::string>> names_;  // that can be meant, once they were needed
};

// Prints that a request as a whole failed; returns the exit code.
int ReplyFailed(const CtlOptions& options, Client& client, std::string_view subject, const Reply& reply);
int SendFailed(const CtlOptions& options, Client& client, const Error& error);
// The same for what Get returned.
int GetFailed(const CtlOptions& options, Client& client, const Error& error, int status);

// The body of a good answer; otherwise prints what is wrong and sets `code`.
nlohmann::json Ask(const CtlOptions& options, Client& client, const std::string& verb, const std::string& target, int& code);

// What became of each of several images, in the order they were asked for.
class Results {
 public:
  Results(const CtlOptions& options, Client& client) : options_(options), advisor_(options, client) {}

  // Reserves the place of `name`; what becomes of it is printed as soon as it is known.
  size_t Add(const std::string& name);
  void Done(size_t at, std::string_view what, const nlohmann::json& more = nullptr);
  void Failed(size_t at, int code, const std::string& message, const std::string& next_step = "",
              const nlohmann::json& more = nullptr);
  // Sends `verb prefix/{name}` for that place. False when it failed, which is noted.
  bool Send(Client& client, size_t at, const std::string& verb, const std::string& prefix, const std::string& query = "");

  bool HasFailed(size_t at) const { return places_[at].code != 0; }
  // Prints the document with --json. The code of the first that failed, in the order asked.
  int Finish();

 private:
  struct Place {
    std::string name;
    int code = 0;
    nlohmann::json result;
  };
  const CtlOptions& options_;
  Advisor advisor_;
  int advised_ = 0;
  std::vector<Place> places_;
};

}  // namespace glintfs::ctl
