// SPDX-License-Identifier: Apache-2.0
/* A plugin of QEMU's emulator that counts the instructions a program executes, one thread.
 *
 *     cc -shared -fPIC -DINTERFACE=1 instructions.c -o instructions.so
 *     qemu-aarch64 -plugin ./instructions.so,out=FILE PROGRAM
 *
 * Whenever the program makes the system call 0x7ead, which no kernel has, the number of
 * instructions so far is appended to FILE. Declared here is what is used of QEMU's interface for
 * plugins, since Debian installs no header for it; INTERFACE is its version.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x7ead

struct qemu_plugin_tb;
typedef void (*translated)(uint64_t id, struct qemu_plugin_tb *block);
typedef void (*executed)(unsigned int cpu, void *data);
typedef void (*called)(uint64_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                       uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7,
                       uint64_t a8);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, executed callback,
                                          int flags, void *data);
void qemu_plugin_register_vcpu_syscall_cb(uint64_t id, called callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);

EXPORT int qemu_plugin_version = INTERFACE;

static uint64_t total;
static const char *path;

static void count(unsigned int cpu, void *data) { total += (uintptr_t)data; }

static void block(uint64_t id, struct qemu_plugin_tb *block) {
  qemu_plugin_register_vcpu_tb_exec_cb(block, count, 0, (void *)qemu_plugin_tb_n_insns(block));
}

static void call(uint64_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                 uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  FILE *file = number == MARK && path ? fopen(path, "a") : NULL;
  if (file) {
    fprintf(file, "%" PRIu64 "\n", total);
    fclose(file);
  }
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
  for (int i = 0; i < argc; i++) {
    if (!strncmp(argv[i], "out=", 4)) path = strdup(argv[i] + 4);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, block);
  qemu_plugin_register_vcpu_syscall_cb(id, call);
  return 0;
}
