// Package process identifies, watches and signals processes that are not
// children of this one.
//
// A PID alone is not sufficient, since the kernel reuses it. A process is
// identified by its PID, its start time and the boot id, and is
// held by a pidfd once it is verified, so that a signal cannot reach another process.
//
// The package does not start processes. It reads exit codes only through pidfds.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrGone means that the process has ended, or that its PID belongs to another process.
var ErrGone = errors.New("process is gone")

// Identity identifies one process of this boot. The zero value is none.
type Identity struct {
	// PID is the process id in the caller's PID namespace.
	PID int `json:"pid"`
	// StartTicks is field 22 of /proc/PID/stat: clock ticks after boot.
	StartTicks uint64 `json:"start_ticks"`
	// BootID is /proc/sys/kernel/random/boot_id.
	BootID string `json:"boot_id"`
}

// Identify reads the identity of a process that must be alive, for example because the
// caller is its parent.
func Identify(pid int) (Identity, error) {
	ticks, _, err := stat(pid)
	if err != nil {
		return Identity{}, err
	}
	boot, err := BootID()
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, StartTicks: ticks, BootID: boot}, nil
}

// BootID returns the random id of this boot.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return string(bytes.TrimSpace(b)), nil
}

// Alive reports whether the identified process is still running. A zombie is not.
func (id Identity) Alive() bool {
	if id.PID <= 0 {
		return false
	}
	if boot, err := BootID(); err != nil || boot != id.BootID {
		return false
	}
	ticks, state, err := stat(id.PID)
	return err == nil && ticks == id.StartTicks && state != 'Z' && state != 'X'
}

// Ending reports whether the process has ended or is exiting: the first process of a PID
// namespace exits only after all others, which it kills.
func (id Identity) Ending() bool {
	if !id.Alive() {
		return true
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(id.PID) + "/stat")
	const flagsField, exiting = 6, 0x4 // field 9; PF_EXITING of linux/sched.h
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if err != nil || len(f) <= flagsField {
		return true
	}
	flags, err := strconv.ParseUint(f[flagsField], 10, 64)
	return err == nil && flags&exiting != 0
}

// stat returns the start time in clock ticks and the state of a process from
// proc_pid_stat(5). The command in parentheses may contain anything, so fields are counted
// from the last parenthesis.
func stat(pid int) (ticks uint64, state byte, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, 0, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: %w", pid, err)
	}
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, 0, fmt.Errorf("process %d: stat has no command", pid)
	}
	const stateField, startField = 0, 19 // fields 3 and 22, counted after the command
	f := strings.Fields(string(b[i+1:]))
	if len(f) <= startField {
		return 0, 0, fmt.Errorf("process %d: stat has %d fields", pid, len(f))
	}
	ticks, err = strconv.ParseUint(f[startField], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return ticks, f[stateField][0], nil
}
