#include "control/tls.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "backends/secret_file.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {

Error Wrong(const char* setting, const std::string& path, std::string_view why) {
  return Error{Errc::kInvalid, fmt::format("{}={}: {}", setting, path, why)};
}

Result<void> CheckReadable(const char* setting, const std::string& path) {
  if (::access(path.c_str(), R_OK) != 0) return Wrong(setting, path, std::strerror(errno));
  return {};
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::Load(const std::string& cert_file, const std::string& key_file) {
  namespace ssl = boost::asio::ssl;
  GLINTFS_TRY(CheckReadable("control_tls_cert", cert_file));
  GLINTFS_TRY(CheckReadable("control_tls_key", key_file));
  WarnIfReadableByAll(key_file, "control_tls_key");
  std::shared_ptr<TlsContext> tls(new TlsContext());
  SSL_CTX* const context = tls->context_.native_handle();
  ::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  ::SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  ::SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  boost::system::error_code error;
  // Without this OpenSSL would ask for the passphrase on the terminal.
  tls->context_.set_password_callback([](size_t, ssl::context::password_purpose) { return std::string(); }, error);
  tls->context_.use_certificate_chain_file(cert_file, error);
  if (error) return Wrong("control_tls_cert", cert_file, "no usable PEM certificate: " + error.message());
  tls->context_.use_private_key_file(key_file, ssl::context::pem, error);
  if (error) {
    return Wrong("control_tls_key", key_file,
                 fmt::format("no usable PEM key without passphrase for {}: {}", cert_file, error.message()));
  }
  if (::X509_cmp_current_time(::X509_get0_notAfter(::SSL_CTX_get0_certificate(context))) < 0)
    LogWarn("control_tls_cert={}: the certificate has expired", cert_file);
  return tls;
}

}  // namespace glintfs
