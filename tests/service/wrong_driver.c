/* A Vulkan driver that computes wrongly: of every 50 kernels it leaves one out, and says nothing.
 * To be loaded with LD_PRELOAD before a server whose self-test has to find it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

typedef void (*function)(void);
typedef void (*dispatch)(void *, uint32_t, uint32_t, uint32_t);
typedef function (*address)(void *, const char *);

static dispatch right;
static atomic_uint kernels;

static void wrong(void *commands, uint32_t x, uint32_t y, uint32_t z) {
    if (atomic_fetch_add(&kernels, 1) % 50 != 49) right(commands, x, y, z);
}

static function replaced(const char *name, function found) {
    if (found == NULL || strcmp(name, "vkCmdDispatch") != 0) return found;
    right = (dispatch)found;
    return (function)wrong;
}

function vkGetDeviceProcAddr(void *device, const char *name) {
    address real = (address)dlsym(RTLD_NEXT, "vkGetDeviceProcAddr");
    return replaced(name, real(device, name));
}

function vkGetInstanceProcAddr(void *instance, const char *name) {
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) return (function)vkGetDeviceProcAddr;
    address real = (address)dlsym(RTLD_NEXT, "vkGetInstanceProcAddr");
    return replaced(name, real(instance, name));
}
