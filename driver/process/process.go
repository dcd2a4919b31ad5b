// Package process identifies, watches and signals processes that are not
// children of this one.
//
// A bare process id is never enough: the kernel reuses it. A process is
// identified by its id, its start time and the boot it belongs to, and is
// held by a pidfd from the moment it was verified, so that a signal can not
// reach a stranger.
//
// The package does not start processes and does not read exit codes other
// than what the kernel tells through a pidfd.
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

// ErrGone is returned where the process has ended, or where its id belongs to
// another process by now.
var ErrGone = errors.New("process is gone")

// Identity names one process for as long as the machine is up. The zero value
// names none.
type Identity struct {
	// PID is the process id in the caller's PID namespace.
	PID int `json:"pid"`
	// StartTicks is field 22 of /proc/PID/stat: clock ticks after boot.
	StartTicks uint64 `json:"start_ticks"`
	// BootID is /proc/sys/kernel/random/boot_id of the boot it was seen in.
	BootID string `json:"boot_id"`
}

// Identify reads the identity of a process that is known to be alive, for
// example because the caller is the one that is told of its end.
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

// BootID returns the random id that the kernel chose at boot.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return string(bytes.TrimSpace(b)), nil
}

// Alive tells whether the very process that id names still runs. A zombie
// does not run.
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

// Ending tells whether the process has ended or is about to: the first of a
// PID namespace lives until the others, which it takes along, are gone.
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

// stat returns the start time in clock ticks and the state of a process, as
// proc_pid_stat(5) gives them. The command in parentheses may hold anything,
// so fields are counted from the last parenthesis.
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
