package namespace

// InNetwork runs f on a thread in the network namespace at path. Sockets that f itself
// creates belong to that namespace; sockets created by goroutines that f starts do not.
func InNetwork(path string, f func() error) error { return enter(path, Net, f) }

// InIPC runs f on a thread in the IPC namespace at path. Files below /proc/sys that f
// itself opens belong to that namespace.
func InIPC(path string, f func() error) error { return enter(path, IPC, f) }

func enter(path string, k Kind, f func() error) error {
	flag, err := k.flag()
	if err != nil {
		return err
	}
	return onSpareThread(func() error { return enterHere(path, flag, f) })
}
