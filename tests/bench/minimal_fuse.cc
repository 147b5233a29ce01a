// minimal_fuse FILE MOUNTPOINT: shows FILE as MOUNTPOINT/image, with as little in the way as libfuse's low-level interface
// allows: its own loop of threads, one pread into a buffer of the thread, one reply. What scripts/bench compares the daemon
// with where every read goes through it. SIGTERM ends it.
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

constexpr fuse_ino_t kImage = FUSE_ROOT_ID + 1;
constexpr unsigned kMaxRead = 1 << 20;
constexpr double kForever = 1e6;  // seconds that names and attributes are believed

int file;
off_t size;

struct stat Attributes(fuse_ino_t node) {
  struct stat st{};
  st.st_ino = node;
  st.st_nlink = 1;
  st.st_mode = node == FUSE_ROOT_ID ? S_IFDIR | 0555 : S_IFREG | 0444;
  st.st_size = node == FUSE_ROOT_ID ? 0 : size;
  return st;
}

void Init(void*, fuse_conn_info* connection) { connection->max_read = kMaxRead; }

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  if (parent != FUSE_ROOT_ID || std::strcmp(name, "image") != 0) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  fuse_entry_param entry{};
  entry.ino = kImage;
  entry.attr = Attributes(kImage);
  entry.attr_timeout = entry.entry_timeout = kForever;
  fuse_reply_entry(request, &entry);
}

void GetAttr(fuse_req_t request, fuse_ino_t node, fuse_file_info*) {
  const struct stat st = Attributes(node);
  fuse_reply_attr(request, &st, kForever);
}

void Read(fuse_req_t request, fuse_ino_t, size_t length, off_t offset, fuse_file_info*) {
  thread_local std::vector<char> buffer(kMaxRead);
  const ssize_t n = pread(file, buffer.data(), length, offset);
  if (n < 0) {
    fuse_reply_err(request, errno);
  } else {
    fuse_reply_buf(request, buffer.data(), static_cast<size_t>(n));
  }
}

int Serve(const char* mountpoint) {
  fuse_lowlevel_ops operations{};
  operations.init = Init;
  operations.lookup = Lookup;
  operations.getattr = GetAttr;
  operations.read = Read;

  char name[] = "minimal_fuse", flag[] = "-o", list[] = "ro,allow_other,max_read=1048576";
  char* words[] = {name, flag, list};
  fuse_args args = FUSE_ARGS_INIT(3, words);
  fuse_session* session = fuse_session_new(&args, &operations, sizeof operations, nullptr);
  if (session == nullptr) return 1;
  fuse_set_signal_handlers(session);
  if (fuse_session_mount(session, mountpoint) != 0) return 1;
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  fuse_session_unmount(session);
  fuse_remove_signal_handlers(session);
  fuse_session_destroy(session);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  struct stat st{};
  if (argc != 3 || (file = open(argv[1], O_RDONLY | O_CLOEXEC)) < 0 || fstat(file, &st) != 0) {
    std::fprintf(stderr, "usage: minimal_fuse FILE MOUNTPOINT\n");
    return 2;
  }
  size = st.st_size;
  return Serve(argv[2]);
}
