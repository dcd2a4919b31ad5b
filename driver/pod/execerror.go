package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A runtime executes the program after the start has returned, in the container. If that fails, its
// only report is a line on the task's stderr.

// execLine matches that line: of runc, and the message in the JSON of crun.
var execLine = regexp.MustCompile("^(?:exec container process `(/[^`]*)`|exec (/.*)): ([A-Za-z ]+)$")

// execError returns the error that is in a line of a runtime, or nil if the line is another one. A
// task can print such a line itself, and then only its own result is wrong.
func execError(line string) error {
	var crun struct{ Msg string }
	if json.Unmarshal([]byte(line), &crun) == nil {
		line = crun.Msg
	}
	found := execLine.FindStringSubmatch(line)
	if found == nil {
		return nil
	}
	return fmt.Errorf("command %q cannot be executed: %s", found[1]+found[2], strings.ToLower(found[3]))
}

// execFailure explains why a task ended immediately with an exit code, or returns nil.
func (c *Container) execFailure() error {
	if c.mistake != nil || c.logs == nil {
		return c.mistake
	}
	line, err := c.logs.lastLine(c.state.Name+".stderr", c.state.StartedAt.Add(-execGrace))
	if err != nil {
		return nil
	}
	return execError(line)
}

// maxLastLine limits how much of a log file is read for its last line.
const maxLastLine = 4 << 10

// lastLine returns the last line of the log files with a base name, if it was written after a time.
func (l Logs) lastLine(base string, after time.Time) (string, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	dir, err := openat2(l.AllocDirHostPath, l.Dir, how)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return "", err
	}
	newest := -1
	for _, name := range names {
		if index, ok := strings.CutPrefix(name, base+"."); ok {
			if n, err := strconv.Atoi(index); err == nil {
				newest = max(newest, n)
			}
		}
	}
	file, err := openat2(openedPath(dir), fmt.Sprintf("%s.%d", base, newest), how)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.ModTime().Before(after) {
		return "", errors.Join(err, errors.New("the log has no new line"))
	}
	text, err := io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-maxLastLine), maxLastLine))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1], err
}
