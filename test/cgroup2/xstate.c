// A shim around ptrace for user-mode-linux on processors whose saved registers
// are larger than its kernel expects, as those with AMX have.
//
// The kernel takes the extended registers of a process whole or not at all
// (arch/x86/kernel/fpu/regset.c, xstateregs_set). user-mode-linux 6.1 reads
// the first 2.6 KiB of them, which hold everything up to AVX-512, and wants to
// write those back: EFAULT, and it panics. Here the rest is taken from where
// the process is; nothing in the machine uses it.
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	xstate = 0x202,             // NT_X86_XSTATE
	bits = 512,                 // offset of xstate_bv, which parts are in use
	tiles = 1 << 17 | 1 << 18,  // those of AMX
};

static unsigned char whole[1 << 16] __attribute__((aligned(64)));

long ptrace(enum __ptrace_request request, ...)
{
	va_list args;
	va_start(args, request);
	long pid = va_arg(args, long);
	void *addr = va_arg(args, void *);
	void *data = va_arg(args, void *);
	va_end(args);

	// The C library returns what these read; user-mode-linux has no other use.
	long peeked;
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER)
		return syscall(SYS_ptrace, request, pid, addr, &peeked) < 0 ? -1 : peeked;

	struct iovec *given = data;
	if (request != PTRACE_SETREGSET || (uintptr_t)addr != xstate)
		return syscall(SYS_ptrace, request, pid, addr, data);

	struct iovec now = { whole, sizeof whole };
	if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, addr, &now) < 0)
		return -1;
	if (given->iov_len >= now.iov_len)
		return syscall(SYS_ptrace, request, pid, addr, data);
	memcpy(whole, given->iov_base, given->iov_len);
	uint64_t used;
	memcpy(&used, whole + bits, sizeof used);
	used &= ~(uint64_t)tiles;
	memcpy(whole + bits, &used, sizeof used);
	return syscall(SYS_ptrace, request, pid, addr, &now);
}
