#include "backends/openstack/openstack_auth.h"

#include <unistd.h>

#include "backends/http/settings.h"
#include "backends/openstack/cloud_config.h"
#include "backends/openstack/cloud_settings.h"
#include "backends/openstack/keystone.h"

namespace glintfs {

Result<std::shared_ptr<OpenStackAuth>> MakeOpenStackAuth(const BackendOptions& options) {
  GLINTFS_ASSIGN(const std::optional<CloudSettings> settings, FindCloudSettings(options));
  if (!settings) return std::shared_ptr<OpenStackAuth>();
  GLINTFS_ASSIGN(CloudConfig config, MakeCloudConfig(*settings, options));
  HttpSettings http = HttpSettingsFrom(options);
  http.ca_file = config.ca_file;
  http.max_idle_connections = 1;
  return std::shared_ptr<OpenStackAuth>(std::make_shared<KeystoneAuth>(std::move(config), std::move(http)));
}

}  // namespace glintfs
