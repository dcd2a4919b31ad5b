package pod

import (
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
)

// mistake returns the reason why a task's program cannot start, or nil if it finds none. It names
// common mistakes in the same words whichever runtime is in use; the runtime's own message goes to
// the log. Since the runtime decides, the caller reports a mistake only after a start has failed.
// image may be nil.
func mistake(spec *specs.Spec, args []string, image *Image) error {
	v := view{root: spec.Root.Path, mounts: spec.Mounts}
	if image == nil {
		return v.mistake(spec.Process, args, "add its folder to the plugin's host_paths, or bring it with an artifact")
	}
	return image.explain(v.mistake(spec.Process, args, "check command and entrypoint"))
}

// explain adds the image's name to an error about its content.
func (i *Image) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (image %s)", err, i.Reference)
}

// mistake is the same for the paths of a view. fix is the advice for a missing program.
func (v view) mistake(p *specs.Process, args []string, fix string) error {
	if err := v.checkWorkDir(p); err != nil {
		return err
	}
	file, name, err := v.lookPath(args[0], p)
	if errors.Is(err, os.ErrNotExist) {
		return notFound(args[0], variable(p.Env, "PATH"), fix)
	}
	if err != nil {
		return nil
	}
	defer file.Close()
	return v.checkProgram(file, name, p)
}

func mistakef(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// checkWorkDir checks an existing working directory; the runtime creates a missing one.
func (v view) checkWorkDir(p *specs.Process) error {
	dir, err := v.open(p.Cwd)
	if err != nil {
		return nil
	}
	defer dir.Close()
	info, err := dir.Stat()
	switch {
	case err != nil:
		return nil
	case !info.IsDir():
		return mistakef("work_dir %q is not a directory", p.Cwd)
	case !mayExecute(info, p.User):
		return mistakef("work_dir %q: permission denied for user %d:%d; its mode is %#o: use another directory or user",
			p.Cwd, p.User.UID, p.User.GID, info.Mode().Perm())
	}
	return nil
}

// lookPath finds a program like execvp(3). Errors other than os.ErrNotExist mean that a mount that
// cannot be inspected may contain the program.
func (v view) lookPath(command string, p *specs.Process) (file *os.File, name string, err error) {
	candidates := []string{command}
	if strings.Contains(command, "/") {
		if !path.IsAbs(command) {
			candidates = []string{path.Join(p.Cwd, command)}
		}
	} else {
		candidates = nil
		for _, dir := range strings.Split(variable(p.Env, "PATH"), ":") {
			candidates = append(candidates, path.Join(p.Cwd, dir, command))
			if path.IsAbs(dir) {
				candidates[len(candidates)-1] = path.Join(dir, command)
			}
		}
	}
	for _, name := range candidates {
		file, err := v.open(name)
		if err == nil {
			return file, name, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, "", err
		}
	}
	return nil, "", os.ErrNotExist
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

// checkProgram checks the type, mode and format of a program.
func (v view) checkProgram(file *os.File, name string, p *specs.Process) error {
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil
	case info.IsDir():
		return mistakef("command %q is a directory; name a program", name)
	case !info.Mode().IsRegular():
		return mistakef("command %q is not a regular file", name)
	case !mayExecute(info, p.User):
		return mistakef("command %q: permission denied for user %d:%d; its mode is %#o: make it executable, or set the task's user", name, p.User.UID, p.User.GID, info.Mode().Perm())
	case info.Size() == 0:
		return mistakef("command %q: exec format error: it is empty", name)
	}
	// A path of the descriptor, so that the file that was checked is read.
	content, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return nil
	}
	defer content.Close()
	return v.checkFormat(content, name)
}

// mayExecute reports whether the mode permits a user to execute a file or to enter a directory. It
// ignores capabilities of users other than root, and access control lists.
func mayExecute(info os.FileInfo, u specs.User) bool {
	uid, gid := owner(info)
	mode := info.Mode().Perm()
	switch {
	case u.UID == 0:
		return info.IsDir() || mode&0o111 != 0
	case u.UID == uid:
		return mode&0o100 != 0
	case u.GID == gid || slices.Contains(u.AdditionalGids, gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

const (
	shebangBytes   = 256 // BINPRM_BUF_SIZE of Linux
	maxProgHeaders = 64
)

// checkFormat checks for a script's interpreter, and for the machine and dynamic loader of an ELF
// file. File content never reaches the error, except for a plain path.
func (v view) checkFormat(content io.ReaderAt, name string) error {
	head := make([]byte, shebangBytes)
	n, err := content.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	head = head[:n]
	switch {
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
