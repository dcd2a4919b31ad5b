package pod

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
)

// socket is a TCP connection from a task's network namespace.
type socket struct {
	*os.File
	stop func() bool // ends the effect of the context
}

// LocalAddr implements net.Conn. It is not used.
func (s socket) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn. It is not used.
func (s socket) RemoteAddr() net.Addr { return nil }

// Close implements net.Conn.
func (s socket) Close() error {
	s.stop()
	return s.File.Close()
}

// dial connects from the task's network namespace. It does not resolve names: the
// host is an IP address or "localhost". When ctx is done, the connection fails.
func (c *Container) dial(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host == "localhost" || host == "" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, err
	}
	if c.state.Gvisor && !c.m.runtimeOf(c.dir).HostNetwork() {
		return c.dialInSandbox(ctx, ip, number)
	}
	var to unix.Sockaddr
	family := unix.AF_INET6
	if ip = ip.Unmap(); ip.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: number, Addr: ip.As4()}
	}
	ns, err := c.openProc("ns/net")
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var fd int
	err = namespace.VisitNetwork(openedPath(ns), func() (err error) {
		if to == nil {
			to = &unix.SockaddrInet6{Port: number, Addr: ip.As16(), ZoneId: zone(ip.Zone())}
		}
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, brokenCheck{err}
	}
	s := socket{File: os.NewFile(uintptr(fd), address)}
	s.stop = context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Unix(1, 0)) })
	if err := s.connect(to); err != nil {
		_ = s.Close()
		if shortage(err) {
			return nil, brokenCheck{err}
		}
		return nil, os.NewSyscallError("connect", err)
	}
	return s, nil
}

// zone returns the index of a network interface in the current namespace, or 0.
func zone(name string) uint32 {
	if name == "" {
		return 0
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return uint32(i.Index)
}

// connect connects the socket, which is not blocking.
func (s socket) connect(to unix.Sockaddr) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	begun := false
	var result error
	err = raw.Write(func(fd uintptr) bool {
		if !begun {
			begun = true
			if result = unix.Connect(int(fd), to); result != nil && !errors.Is(result, unix.EINPROGRESS) {
				return true
			}
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if result = err; err == nil && code != 0 {
			result = syscall.Errno(code)
		}
		if result != nil {
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil // or it is still being connected
	})
	return errors.Join(err, result)
}
