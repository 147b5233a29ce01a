#include "backends/glance/glance_client.h"

#include <fmt/format.h>

#include "backends/http/handlers.h"

namespace glintfs {
namespace {

constexpr size_t kMaxImage = 1 << 20;
constexpr size_t kMaxPage = 32 << 20;  // 1000 images with 32 KiB of properties each

const Error kTooLong{Errc::kInvalid, "the answer is too long to be one of Glance"};

template <typename T>
Result<T> Named(Result<T> parsed, const OriginRequest& request) {
  if (!parsed)
    return Error{parsed.error().code, fmt::format("{}: {}", HttpClient::Describe(request), parsed.error().message)};
  return parsed;
}

}  // namespace

HttpUrl WithoutVersion(HttpUrl url) {
  if (url.path.ends_with("/v2/")) url.path.resize(url.path.size() - 3);
  return url;
}

GlanceClient::GlanceClient(HttpSettings settings, std::optional<HttpUrl> base, std::shared_ptr<OpenStackAuth> auth)
    : base_(std::move(base)), auth_(std::move(auth)), http_(std::move(settings), auth_) {}

Result<HttpUrl> GlanceClient::Base(std::stop_token stop) {
  if (base_) return *base_;
  GLINTFS_ASSIGN(HttpUrl url, auth_->Endpoint("image", std::move(stop)));
  return WithoutVersion(std::move(url));
}

Result<OriginRequest> GlanceClient::Request(const std::string& path, const std::string& query, std::stop_token stop) {
  GLINTFS_ASSIGN(HttpUrl url, Base(std::move(stop)));
  url.path += "v2/" + path;
  url.query = query;
  return OriginRequest{.head = false, .url = std::move(url), .headers = {}};
}

Result<std::optional<ImageRecord>> GlanceClient::Show(const std::string& id, std::stop_token stop) {
  GLINTFS_ASSIGN(OriginRequest request, Request("images/" + id, "", stop));
  request.headers = {"Accept: application/json"};
  KeepBody keep(kMaxImage, kTooLong);
  GLINTFS_ASSIGN(const OriginResponse response, http_.Perform(request, keep, stop));
  if (response.status == 404 || response.status == 410) return std::optional<ImageRecord>();
  if (response.status != 200) return StatusError(request, response);
  GLINTFS_ASSIGN(ImageRecord image, Named(ParseImage(keep.body()), request));
  if (image.id != id) return std::optional<ImageRecord>();  // a database that does not tell upper from lower case
  return std::optional(std::move(image));
}

Result<std::optional<ImagePage>> GlanceClient::TryList(const std::string& query, std::stop_token stop) {
  GLINTFS_ASSIGN(OriginRequest request, Request("images", query, stop));
  request.headers = {"Accept: application/json"};
  KeepBody keep(kMaxPage, kTooLong);
  GLINTFS_ASSIGN(const OriginResponse response, http_.Perform(request, keep, stop));
  if (response.status == 400) return std::optional<ImagePage>();
  if (response.status != 200) return StatusError(request, response);
  GLINTFS_ASSIGN(ImagePage page, Named(ParseImagePage(keep.body()), request));
  return std::optional(std::move(page));
}

Result<ImagePage> GlanceClient::List(const std::string& query, std::stop_token stop) {
  GLINTFS_ASSIGN(std::optional<ImagePage> page, TryList(query, std::move(stop)));
  if (!page) return Error{Errc::kInvalid, "Glance refuses the request for a list of images (400)"};
  return std::move(*page);
}

Result<OriginRequest> GlanceClient::DataRequest(const std::string& id, std::stop_token stop) {
  return Request("images/" + id + "/file", "", std::move(stop));
}

Error GlanceClient::StatusError(const OriginRequest& request, const OriginResponse& response) const {
  const long status = response.status;
  const auto error = [&](Errc code, std::string_view meaning) {
    return Error{code, fmt::format("{}: {} ({})", HttpClient::Describe(request), meaning, status)};
  };
  if (status == 401 && auth_)
    return error(Errc::kAccessDenied, fmt::format("Glance refuses {}, or cannot ask Keystone about it", auth_->DescribeLogin()));
  if (status == 401) return error(Errc::kAccessDenied, "a login is needed: set cloud=, OS_CLOUD or the OS_* variables");
  if (status == 403)
    return error(Errc::kAccessDenied, auth_ ? auth_->DescribeLogin() + " may not do that" : "nobody may do that without a login");
  if (status == 404 || status == 410) return error(Errc::kNotFound, "no such thing there: is that a Glance?");
  if (status == 300) return error(Errc::kInvalid, "that is no Image API v2");
  return glintfs::StatusError(request, response);
}

}  // namespace glintfs
