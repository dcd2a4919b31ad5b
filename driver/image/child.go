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
	"time"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// A pull runs in a process of its own, which is this binary again. What an
// image or a registry makes the libraries do ends with that process: loops that
// heed no context, memory, locks of the store.

// pullProgram is argv[0] of that process.
const pullProgram = "pod-image-pull"

const (
	// pullDataBytes bounds the memory of a pull, and of an unpacker each.
	pullDataBytes = 1 << 30

	// maxAnswerBytes bounds one line of the process.
	maxAnswerBytes = 64 << 10

	// killWait bounds the wait for the pipes of a killed process.
	killWait = 5 * time.Second
)

// order is what the process is asked to pull. It is sent on its input, so that
// no argument holds a password.
type order struct {
	Config             Config
	Reference, Anchor  string
	Platform           string
	Username, Password string
	AccessKey          []byte
}

// answer is one line of its output: how far it is, or how it ended.
type answer struct {
	Progress *Progress `json:",omitempty"`
	ID       string    `json:",omitempty"`
	Failure  *failure  `json:",omitempty"`
}

// failure is an explained error as the process sends it.
type failure struct {
	Text  string
	Kind  int  // index in kinds
	Again bool // whether another attempt may succeed
}

func (f *failure) Error() string { return f.Text }

func (f *failure) Unwrap() error {
	if k := kinds(); f.Kind >= 0 && f.Kind < len(k) {
		return k[f.Kind]
	}
	return nil
}

// kinds are the errors that a caller may check for.
func kinds() []error {
	return []error{
		ErrNotFound, ErrUnauthorized, ErrInvalidReference, ErrInvalidImage, ErrPlatform,
		ErrRejected, ErrPullTimeout, ErrInvalidConfig,
	}
}

func newFailure(ref Reference, err error) *failure {
	f := &failure{Text: explain(ref, err).Error(), Kind: -1, Again: ref.path == "" && passing(err)}
	for i, kind := range kinds() {
		if errors.Is(explain(ref, err), kind) {
			f.Kind = i
			break
		}
	}
	return f
}

// inChild has a process pull the image, and returns its id in the store. The
// process also holds the lock, should it outlive this one for a moment.
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
	last, rerr := s.converse(in, out, key, tell)
	_ = in.Close() // the process ends with it
	if rerr != nil {
		cancel(rerr)
	}
	werr := cmd.Wait()
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // unpackers that are left
	over := context.Cause(ctx)
	cancel(nil)
	room()
	switch {
	case over != nil:
		return "", over
	case last.Failure != nil:
		return "", last.Failure
	case last.ID == "":
		return "", &plainError{ErrInvalidImage, fmt.Sprintf("the process that pulls ended: %v; the image may need more than %d bytes of memory", werr, pullDataBytes)}
	}
	return last.ID, nil
}

// converse sends the order and reads the answers up to the last.
func (s *Store) converse(in io.Writer, out io.Reader, key flightKey, tell func(Progress)) (last answer, err error) {
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
			return answer{}, fmt.Errorf("answer of the process that pulls: %w", err)
		}
		if last.Progress == nil {
			return last, nil
		}
		tell(*last.Progress)
	}
	return answer{}, lines.Err()
}

// Room that a pull must leave on the disk of Root: what an image unpacks to is
// told by nobody.
const (
	roomBytes = 256 << 20
	roomShare = 100 // or that part of the disk, if it is less
	roomEvery = 200 * time.Millisecond
)

// watchRoom cancels when the disk becomes full. The result waits for its end.
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

// pullMain is the process.
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
	go func() { // the one who asked is gone
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

// confineUnpacker has a process that storage started to unpack a layer end
// with the one that started it.
func confineUnpacker(name string) {
	if strings.HasPrefix(name, "storage-") {
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	}
}
