// libfuse keeps interrupts whose request it does not know, in case that still comes, and does not free them with the
// session. Tests that send late interrupts would be blamed for it.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GLINTFS_LEAK_CHECK
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(GLINTFS_LEAK_CHECK)
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the sanitizer's name
extern "C" const char* __lsan_default_suppressions() { return "leak:libfuse3.so\n"; }
#endif
