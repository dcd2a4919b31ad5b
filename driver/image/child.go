package image

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// A pull runs in a child process, which executes this binary again. Endless loops, memory use
// and store locks caused by a hostile image or registry end with that process.

// pullProgram is argv[0] of the child process.
const pullProgram = "pod-image-pull"

const (
	// pullDataBytes limits the memory of a pull process and of each unpacker.
	pullDataBytes = 1 << 30

	// maxAnswerBytes limits one line of the child's output.
	maxAnswerBytes = 64 << 10

	// killWait limits the wait for the pipes of a killed process.
	killWait = 5 * time.Second
)

// order is the request to the child process. It is sent on stdin, so no argument contains a
// password.
type order struct {
	Config             Config
	Reference, Anchor  string
	Platform           string
	Username, Password string
	AccessKey          []byte
}

// answer is one line of the child's output: progress or the result.
type answer struct {
	Progress *Progress `json:",omitempty"`
	ID       string    `json:",omitempty"`
	Failure  *failure  `json:",omitempty"`
}

// failure is an explained error in the child's output.
type failure struct {
	Text  string
	Kind  int  // index in kinds
	Again bool // whether a retry may succeed
}

func (f *failure) Error() string { return f.Text }

func (f *failure) Unwrap() error {
	if k := kinds(); f.Kind >= 0 && f.Kind < len(k) {
		return k[f.Kind]
	}
	return nil
}

// kinds returns the errors that a caller may check for.
func kinds() []error {
	return []error{
		ErrNotFound, ErrUnauthorized, ErrInvalidReference, ErrInvalidImage, ErrPlatform,
		ErrRejected, ErrPullTimeout, ErrInvalidConfig,
	}
}

func newFailure(ref Reference, err error) *failure {
	f := &failure{Text: explain(ref, err).Error(), Kind: -1, Again: ref.path == "" && isTransient(err)}
	for i, kind := range kinds() {
		if errors.Is(explain(ref, err), kind) {
			f.Kind = i
			break
		}
	}
	return f
}

// inChild pulls the image in a child process and returns its id in the store. The child
// inherits the lock, in case it outlives this process for a moment.
func (s *Store) inChild(ctx context.Context, lock *os.File, key flightKey, tell func(Progress)) (id string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{pullProgram}
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = killWait
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", errors.Join(err, in.Close())
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start pull: %w", err)
	}
	room := s.watchRoom(ctx, cancel)
	last, rerr := s.exchange(in, out, key, tell)
	_ = in.Close() // closing stdin ends the process
	if rerr != nil {
		cancel(rerr)
	}
	werr := cmd.Wait()
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // remaining unpackers
	over := context.Cause(ctx)
	cancel(nil)
	room()
	switch {
	case over != nil:
		return "", over
	case last.Failure != nil:
		return "", last.Failure
	case last.ID == "" && killed(cmd.ProcessState):
		return "", &plainError{errPull, "the pull process was killed; check the host's memory and its kernel log"}
	case last.ID == "":
		return "", &plainError{ErrInvalidImage, fmt.Sprintf("pull process ended: %v; the image may need more than %d bytes of memory", werr, pullDataBytes)}
	}
	return last.ID, nil
}

// exchange sends the order and reads answers until the result.
func (s *Store) exchange(in io.Writer, out io.Reader, key flightKey, tell func(Progress)) (last answer, err error) {
	o := order{
		Config: s.cfg, Reference: key.ref.String(), Anchor: key.ref.anchor,
		Username: key.username, Password: key.password, AccessKey: s.accessKey,
	}
	if key.platform != (platform{}) {
		o.Platform = key.platform.String()
	}
	if err := json.NewEncoder(in).Encode(o); err != nil && !errors.Is(err, unix.EPIPE) {
		return answer{}, err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxAnswerBytes)
	for lines.Scan() {
		last = answer{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return answer{}, fmt.Errorf("read from pull process: %w", err)
		}
		if last.Progress == nil {
			return last, nil
		}
		tell(*last.Progress)
	}
	return answer{}, lines.Err()
}

// Free space that a pull must leave on the disk of Root. No header reports the unpacked size
// of an image in advance.
const (
	roomBytes = 256 << 20
	roomShare = 100 // or this fraction of the disk, if smaller
	roomEvery = 200 * time.Millisecond
)

// watchRoom cancels the pull when the disk becomes full. wait blocks until watchRoom ends.
func (s *Store) watchRoom(ctx context.Context, cancel context.CancelCauseFunc) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(roomEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			var fs unix.Statfs_t
			if err := unix.Statfs(s.cfg.Root, &fs); err != nil {
				continue
			}
			keep := min(roomBytes, fs.Blocks*uint64(fs.Bsize)/roomShare)
			if fs.Bavail*uint64(fs.Bsize) < keep {
				cancel(fmt.Errorf("%w: the image would fill the disk of %s", unix.ENOSPC, s.cfg.Root))
				return
			}
		}
	}()
	return func() { <-done }
}

// killed reports whether a signal ended a process. A process that exceeds its own memory limit ends
// with an exit code.
func killed(p *os.ProcessState) bool {
	status, ok := p.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// pullMain is the main function of the child process.
func pullMain() {
	limit := unix.Rlimit{Cur: pullDataBytes, Max: pullDataBytes}
	_ = unix.Setrlimit(unix.RLIMIT_DATA, &limit)
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	var o order
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &o)
	}
	if err != nil {
		os.Exit(1)
	}
	go func() { // exit when the parent process is gone
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1)
	}()
	key, err := o.key()
	var id string
	if err == nil {
		id, err = o.pull(context.Background(), key, func(p Progress) { _ = out.Encode(answer{Progress: &p}) })
	}
	if err != nil {
		_ = out.Encode(answer{Failure: newFailure(key.ref, err)})
		return
	}
	_ = out.Encode(answer{ID: id})
}

func (o order) key() (flightKey, error) {
	ref, err := ParseReference(o.Reference)
	if err != nil {
		return flightKey{}, err
	}
	ref.anchor = o.Anchor
	return newFlightKey(ref, PullOptions{Platform: o.Platform, Username: o.Username, Password: o.Password})
}

func (o order) pull(ctx context.Context, key flightKey, tell func(Progress)) (string, error) {
	store, err := storage.GetStore(storageOptions(o.Config))
	if err != nil {
		return "", err
	}
	defer store.Free()
	s := &Store{cfg: o.Config, store: store, accessKey: o.AccessKey}
	return s.copyHere(ctx, key, tell)
}

// confineUnpacker makes an unpacker that storage started die with its parent.
func confineUnpacker(name string) {
	if strings.HasPrefix(name, "storage-") {
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	}
}
