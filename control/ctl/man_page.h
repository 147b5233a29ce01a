// glintctl(1) in roff, from the definitions of the command line.
#pragma once

#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace glintfs::ctl {

std::string ManPage(const CLI::App& app, std::string_view version);

}  // namespace glintfs::ctl
