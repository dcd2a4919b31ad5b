package pod

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
)

// A sandbox with a network stack of its own takes the addresses and routes of its network namespace.
// The next sandbox of the allocation, and the host's tools, need them again when it has ended.

// addresses belong to a network namespace, in the form of the kernel's netlink messages
// (rtnetlink(7)).
type addresses struct {
	Path      string   `json:"path"` // of the namespace
	Addresses [][]byte `json:"addresses,omitempty"`
	Routes    [][]byte `json:"routes,omitempty"`
}

// maxMessages bounds the stored messages of a namespace.
const maxMessages = 256

func readAddresses(path string) (*addresses, error) {
	a := &addresses{Path: path}
	err := namespace.VisitNetwork(path, func() (err error) {
		if a.Addresses, err = list(unix.RTM_GETADDR, unix.RTM_NEWADDR, isLoopback); err == nil {
			a.Routes, err = list(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, ofKernel)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", path, err)
	}
	return a, nil
}

// list returns the messages of a kind, without their headers.
func list(get, kind int, skip func([]byte) bool) (out [][]byte, err error) {
	b, err := syscall.NetlinkRIB(get, unix.AF_UNSPEC)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	for _, m := range messages {
		if int(m.Header.Type) == kind && len(m.Data) >= unix.SizeofIfAddrmsg && !skip(m.Data) {
			out = append(out, m.Data)
		}
	}
	if len(out) > maxMessages {
		return nil, fmt.Errorf("more than %d entries", maxMessages)
	}
	return out, nil
}

// isLoopback reports whether an address (struct ifaddrmsg) is of the host alone.
func isLoopback(m []byte) bool { return m[3] == unix.RT_SCOPE_HOST }

// ofKernel reports whether the kernel adds a route (struct rtmsg) with an address.
func ofKernel(m []byte) bool {
	return len(m) < unix.SizeofRtMsg || m[5] == unix.RTPROT_KERNEL || m[4] != unix.RT_TABLE_MAIN
}

// restore adds the addresses and routes that the namespace does not have. It returns nil if the
// namespace is gone.
func (a *addresses) restore() error {
	if a == nil {
		return nil
	}
	err := namespace.VisitNetwork(a.Path, func() error {
		s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(s)
		var errs []error
		for _, m := range a.Addresses {
			errs = append(errs, addTo(s, unix.RTM_NEWADDR, m))
		}
		// A gateway must be reachable before a route leads there.
		var left []error
		for range 2 {
			left = nil
			for _, m := range a.Routes {
				left = append(left, addTo(s, unix.RTM_NEWROUTE, m))
			}
		}
		return errors.Join(append(errs, left...)...)
	})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// addTo sends a message and waits for the answer.
func addTo(s int, kind uint16, body []byte) error {
	m := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(m, uint32(unix.SizeofNlMsghdr+len(body)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	if err := unix.Sendto(s, append(m, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("netlink", err)
	}
	answer := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return os.NewSyscallError("netlink", err)
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink: unexpected answer")
	}
	code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:]))
	if err := unix.Errno(-code); code != 0 && err != unix.EEXIST {
		return os.NewSyscallError("netlink", err)
	}
	return nil
}
