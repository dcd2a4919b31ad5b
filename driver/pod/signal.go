package pod

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Numbers of real-time signals as glibc and musl show them to programs (signal(7)).
const (
	sigRTMin, sigRTMax = 34, 64
)

// ParseSignal parses a signal such as "SIGTERM", "term", "15", "SIGRTMIN+3" or "RTMAX-2". Empty is 0.
func ParseSignal(s string) (unix.Signal, error) {
	if s == "" {
		return 0, nil
	}
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n <= sigRTMax {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	if sig, ok := realTime(name); ok {
		return sig, nil
	}
	return 0, fmt.Errorf("%w: unknown signal %.32q: want a name such as SIGTERM or SIGRTMIN+3, or a number", ErrInvalid, s)
}

var realTimeName = regexp.MustCompile(`^SIGRT(?:MIN(?:\+([0-9]{1,2}))?|MAX(?:-([0-9]{1,2}))?)$`)

// realTime parses SIGRTMIN, SIGRTMIN+N, SIGRTMAX and SIGRTMAX-N.
func realTime(name string) (unix.Signal, bool) {
	m := realTimeName.FindStringSubmatch(name)
	if m == nil {
		return 0, false
	}
	up, _ := strconv.Atoi(m[1]) // empty is 0
	down, _ := strconv.Atoi(m[2])
	n := sigRTMin + up
	if strings.HasPrefix(name, "SIGRTMAX") {
		n = sigRTMax - down
	}
	return unix.Signal(n), n >= sigRTMin && n <= sigRTMax
}
