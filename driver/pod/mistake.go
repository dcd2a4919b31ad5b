package pod

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// checkStart returns the reason why a task's program cannot start, in the same words whichever
// runtime is in use, or nil if it finds none. It creates a missing working directory in the task's
// root. suspected is a reason that only holds if the start fails: it depends on the kernel and the
// runtime. image may be nil.
func checkStart(v view, p *specs.Process, args []string, image *Image) (suspected, err error) {
	fix := "add its folder to the plugin's host_paths, or bring it with an artifact"
	if image != nil {
		fix = "check command and entrypoint"
	}
	if err := v.prepareWorkDir(p.Cwd); err != nil {
		return nil, image.explain(err)
	}
	file, name, err := v.findProgram(args[0], p, fix)
	if errors.Is(err, ErrInvalid) {
		return nil, image.explain(err)
	}
	if file != nil {
		defer file.Close()
	}
	suspected = v.checkWorkDir(p)
	if err == nil && suspected == nil {
		suspected = v.checkFormat(file, name)
	}
	return image.explain(suspected), nil
}

// explain adds the image's name, if there is one, to an error about its content.
func (i *Image) explain(err error) error {
	if err == nil || i == nil {
		return err
	}
	return fmt.Errorf("%w (image %s)", err, i.Reference)
}

// mistakeError is an ErrInvalid with a text that tells a user everything.
type mistakeError struct{ error }

func (mistakeError) Is(target error) bool { return target == ErrInvalid }
func (e mistakeError) Unwrap() error      { return e.error }

func mistakef(format string, args ...any) error {
	return mistakeError{fmt.Errorf(format, args...)}
}

// findProgram finds a program like execvp(3) and opens it. Errors other than ErrInvalid mean that a
// mount that cannot be inspected may contain the program.
func (v view) findProgram(command string, p *specs.Process, fix string) (file *os.File, name string, err error) {
	search := []string{""}
	if !strings.Contains(command, "/") {
		search = strings.Split(variable(p.Env, "PATH"), ":")
	}
	var refused error
	for _, dir := range search {
		name := path.Join(dir, command)
		relative := !path.IsAbs(name)
		if relative {
			name = path.Join(p.Cwd, name)
		}
		file, err := v.openProgram(name, relative, p)
		switch {
		case err == nil && relative && !strings.Contains(command, "/"):
			return nil, "", errors.Join(file.Close(),
				mistakef("command %q is only in the relative entry %q of PATH; write its absolute path, or %q", command, dir, "./"+path.Join(dir, command)))
		case err == nil:
			return file, name, nil
		case errors.Is(err, ErrInvalid):
			refused = cmp.Or(refused, err)
		case !errors.Is(err, os.ErrNotExist):
			return nil, "", err
		}
	}
	if refused == nil {
		refused = notFound(command, variable(p.Env, "PATH"), fix)
	}
	return nil, "", refused
}

func notFound(command, searched, fix string) error {
	program, args, blanks := strings.Cut(command, " ")
	switch {
	case blanks:
		return mistakef("command %q not found: it is a single program name; write command = %q and args = [%q]", command, program, args)
	case strings.Contains(command, "/"):
		return mistakef("command %q not found in the task's file system; %s", command, fix)
	}
	return mistakef("command %q not found in PATH (%s); %s", command, searched, fix)
}

func variable(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// openProgram opens a program with O_PATH if a process may execute it. The directories that lead to a
// relative one need no permission.
func (v view) openProgram(name string, relative bool, p *specs.Process) (*os.File, error) {
	enter := func(dir *os.File, at string) error {
		if info, ok := v.mayExecute(dir, p); !ok {
			return mistakef("command %q: permission denied for user %d; %s is %#o", name, p.User.UID, at, info.Mode().Perm())
		}
		return nil
	}
	if relative {
		enter = nil
	}
	file, _, _, err := v.walk(name, enter)
	if errors.Is(err, errTooLinky) {
		return nil, mistakef("command %q leads through too many symbolic links", name)
	}
	if err != nil {
		return nil, err
	}
	info, may := v.mayExecute(file, p)
	switch {
	case info == nil:
		return file, nil
	case info.IsDir():
		err = mistakef("command %q is a directory; name a program", name)
	case !info.Mode().IsRegular():
		err = mistakef("command %q is not a regular file", name)
	case !may:
		err = mistakef("command %q: permission denied for user %d:%d; its mode is %#o: make it executable, or set the task's user", name, p.User.UID, p.User.GID, info.Mode().Perm())
	default:
		return file, nil
	}
	return nil, errors.Join(err, file.Close())
}

// mayExecute reports whether a process may execute a file, or enter a directory, that was opened
// with O_PATH. It allows what access control lists may allow. info is nil if it is unknown.
func (v view) mayExecute(file *os.File, p *specs.Process) (info os.FileInfo, ok bool) {
	info, err := file.Stat()
	if err != nil {
		return nil, true
	}
	capable := func(name string) bool {
		return p.Capabilities != nil && slices.Contains(p.Capabilities.Effective, name)
	}
	uid, gid := owner(info)
	uid, gid = v.users.inside(uid), v.users.inside(gid)
	mode, u := info.Mode().Perm(), p.User
	switch {
	case info.IsDir() && (capable("CAP_DAC_OVERRIDE") || capable("CAP_DAC_READ_SEARCH")):
		return info, true
	case mode&0o111 != 0 && capable("CAP_DAC_OVERRIDE"), hasACL(file):
		return info, true
	case u.UID == uid:
		return info, mode&0o100 != 0
	case u.GID == gid || slices.Contains(u.AdditionalGids, gid):
		return info, mode&0o010 != 0
	}
	return info, mode&0o001 != 0
}

func hasACL(file *os.File) bool {
	size, err := unix.Getxattr(openedPath(file), "system.posix_acl_access", nil)
	return err == nil && size > 0
}

const (
	shebangBytes   = 256 // BINPRM_BUF_SIZE of Linux
	maxProgHeaders = 64
)

// checkFormat checks for a script's interpreter, and for the machine and dynamic loader of an ELF
// file. The kernel may know other formats (binfmt_misc). File content never reaches the error, except
// for a plain path.
func (v view) checkFormat(program *os.File, name string) error {
	content, err := os.Open(openedPath(program)) // the file that was checked
	if err != nil {
		return nil
	}
	defer content.Close()
	head := make([]byte, shebangBytes)
	n, err := content.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	head = head[:n]
	switch {
	case n == 0:
		return mistakef("command %q: exec format error: it is empty", name)
	case strings.HasPrefix(string(head), "#!"):
		return v.checkInterpreter(string(head[2:]), name)
	case strings.HasPrefix(string(head), elf.ELFMAG):
		return v.checkELF(content, head, name)
	}
	return mistakef("command %q: exec format error: neither an ELF program nor a script that begins with #!", name)
}

// plainPath matches the paths that are repeated in errors.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._+-]{1,200}$`)

func (v view) checkInterpreter(line, name string) error {
	line, _, _ = strings.Cut(line, "\n")
	fields := strings.Fields(strings.TrimSuffix(line, "\r"))
	switch {
	case len(fields) == 0:
		return mistakef("command %q: exec format error: the #! line names no interpreter", name)
	case strings.HasSuffix(line, "\r"):
		return mistakef("command %q: its #! line ends in CRLF; convert its line ends", name)
	}
	return v.checkExists(fields[0], name, "interpreter")
}

func (v view) checkExists(file, name, what string) error {
	if !plainPath.MatchString(file) {
		return nil
	}
	f, err := v.open(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return mistakef("command %q: its %s %s not found in the task's file system", name, what, file)
	case err == nil:
		return f.Close()
	}
	return nil
}

func (v view) checkELF(content io.ReaderAt, head []byte, name string) error {
	var header elf.Header64
	if _, err := binary.Decode(head, binary.LittleEndian, &header); err != nil {
		return mistakef("command %q: exec format error: its ELF header is truncated", name)
	}
	machine := elf.Machine(header.Machine)
	if header.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) || !slices.Contains(machines(), machine) {
		return mistakef("command %q: exec format error: it is built for %s, this host is %s; use a build for this host", name, machine, runtime.GOARCH)
	}
	if header.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) || header.Phnum > maxProgHeaders {
		return nil
	}
	for i := range int64(header.Phnum) {
		var prog elf.Prog64
		r := io.NewSectionReader(content, int64(header.Phoff)+i*int64(header.Phentsize), int64(binary.Size(prog)))
		if binary.Read(r, binary.LittleEndian, &prog) != nil {
			return nil
		}
		if elf.ProgType(prog.Type) != elf.PT_INTERP || prog.Filesz > shebangBytes {
			continue
		}
		loader := make([]byte, prog.Filesz)
		if _, err := content.ReadAt(loader, int64(prog.Off)); err != nil {
			return nil
		}
		return v.checkExists(strings.TrimRight(string(loader), "\x00"), name, "dynamic loader")
	}
	return nil
}

// machines lists the ELF machine types that this host's kernel executes.
func machines() []elf.Machine {
	switch runtime.GOARCH {
	case "amd64":
		return []elf.Machine{elf.EM_X86_64, elf.EM_386}
	case "arm64":
		return []elf.Machine{elf.EM_AARCH64, elf.EM_ARM}
	}
	return nil
}
