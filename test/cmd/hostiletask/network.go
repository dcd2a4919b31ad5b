package main

import (
	"bufio"
	"encoding/binary"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// network returns the attempts on the network, which is the host's in some pods.
func network() []attempt {
	socket := func(family, kind, protocol int) func(options) error {
		return func(options) error {
			fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}
	}
	return []attempt{
		{"network/packet_socket", socket(unix.AF_PACKET, unix.SOCK_RAW, 0)},
		{"network/raw_socket", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
		{"network/raw_socket_6", socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)},
		{"network/vsock", socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
		{"network/kernel_crypto", socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
		{"network/interface", func(options) error { return setInterface() }},
		{"network/mark", func(options) error { return option(unix.SOL_SOCKET, unix.SO_MARK) }},
		{"network/transparent", func(options) error { return option(unix.SOL_IP, unix.IP_TRANSPARENT) }},
		{"network/netlink_link", func(options) error { return netlink(unix.RTM_NEWLINK, unix.SizeofIfInfomsg) }},
		{"network/netlink_address", func(options) error { return netlink(unix.RTM_NEWADDR, unix.SizeofIfAddrmsg) }},
		{"network/netlink_route", func(options) error { return netlink(unix.RTM_NEWROUTE, unix.SizeofRtMsg) }},
		{"network/abstract_sockets", func(options) error { return sockets("@") }},
		{"network/path_sockets", func(options) error { return sockets("/") }},
	}
}

// setInterface writes the flags of the loopback interface back unchanged.
func setInterface() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

func option(level, name int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, level, name, 1)
}

// netlink sends a request without content. If the sender is permitted, the kernel refuses it with
// an error other than EPERM.
func netlink(request uint16, size int) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	message := make([]byte, unix.NLMSG_HDRLEN+size)
	header := syscall.NlMsghdr{Len: uint32(len(message)), Type: request, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK, Seq: 1}
	putHeader(message, header)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	messages, err := syscall.ParseNetlinkMessage(answer[:n])
	if err != nil {
		return err
	}
	for _, m := range messages {
		if m.Header.Type == unix.NLMSG_ERROR && errnoOf(m.Data) == unix.EPERM {
			return unix.EPERM
		}
	}
	return nil
}

// sockets connects to the Unix sockets of the network namespace with names that begin
// with a letter: "@" for abstract sockets, "/" for paths.
func sockets(letter string) error {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return err
	}
	defer f.Close()
	err = errAbsent
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		name := fields[len(fields)-1]
		if !strings.HasPrefix(name, letter) {
			continue
		}
		if err = connects(name); err == nil {
			return reached(name)
		}
	}
	return err
}

func putHeader(b []byte, h syscall.NlMsghdr) {
	binary.NativeEndian.PutUint32(b, h.Len)
	binary.NativeEndian.PutUint16(b[4:], h.Type)
	binary.NativeEndian.PutUint16(b[6:], h.Flags)
	binary.NativeEndian.PutUint32(b[8:], h.Seq)
}

func errnoOf(data []byte) unix.Errno {
	if len(data) < 4 {
		return 0
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(data)))
}
