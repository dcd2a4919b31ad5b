package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// git fetches with the git program. go-getter does too, but it fetches the whole
// history and all submodules, checks out files, may prompt on the terminal, leaves
// git's children running after a timeout, and does not report the commit.
func (f *fetcher) git(ctx context.Context) (Files, string, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, "", missing("git", err)
	}
	dir, err := os.MkdirTemp("", "nomad-sidecar-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(dir)
	g := repository{dir: dir, environ: gitEnviron(f.environ, f.address.url)}
	if _, err := g.run(ctx, "init", "--quiet", "--bare"); err != nil {
		return nil, "", err
	}
	if _, err := g.run(ctx, "remote", "add", "--", "origin", f.address.url); err != nil {
		return nil, "", err
	}
	commit, err := g.commit(ctx, f.pinned, f.address.ref)
	if err != nil {
		return nil, "", err
	}
	p := f.picker()
	if err := g.pick(ctx, commit, p); err != nil {
		return nil, "", err
	}
	files, err := p.picked()
	return files, commit, err
}

// repository is a bare repository for temporary use.
type repository struct {
	dir     string
	environ []string
}

// commit fetches the pinned commit, or else the one that ref names, and returns its ID.
func (g repository) commit(ctx context.Context, pinned, ref string) (string, error) {
	want := pinned
	if want == "" {
		want = ref
	}
	if want == "" {
		want = "HEAD"
	}
	if _, err := g.run(ctx, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "origin", want); err == nil {
		return g.run(ctx, "rev-parse", "--verify", "FETCH_HEAD^{commit}")
	}
	// Not every server serves a commit by its ID or a shallow history, and none resolves
	// abbreviated IDs.
	_, err := g.run(ctx, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "origin", "+HEAD:refs/remotes/origin/HEAD",
		"+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
	if err != nil {
		return "", err
	}
	names := []string{"refs/remotes/origin/HEAD"}
	if ref != "" {
		names = []string{"refs/tags/" + ref, "refs/remotes/origin/" + ref, ref}
	}
	if pinned != "" {
		names = slices.Insert(names, 0, pinned)
	}
	for _, name := range names {
		if id, err := g.run(ctx, "rev-parse", "--verify", "--quiet", name+"^{commit}"); err == nil {
			return id, nil
		}
	}
	return "", fmt.Errorf("the repository has no branch, tag or commit %q", ref)
}

// pick passes the files of a commit to the picker. They are read as stored, so that
// no setting of the user changes them.
func (g repository) pick(ctx context.Context, commit string, p *picker) error {
	list, err := g.run(ctx, "ls-tree", "-r", "-z", "--full-tree", commit)
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		// <mode> SP <type> SP <object> TAB <file>
		head, name, _ := strings.Cut(line, "\t")
		fields := strings.Fields(head)
		if len(fields) != 3 {
			continue // not a file
		}
		regular := fields[1] == "blob" && strings.HasPrefix(fields[0], "100")
		err := p.entry(name, regular, func() (io.Reader, error) { return g.blob(ctx, fields[2]) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (g repository) blob(ctx context.Context, id string) (io.Reader, error) {
	size, err := g.run(ctx, "cat-file", "-s", id)
	if err != nil {
		return nil, err
	}
	if n, err := strconv.Atoi(size); err != nil || n > maxDefinitionBytes {
		return nil, fmt.Errorf("%w: it has %s bytes", errTooBig, size)
	}
	out, err := g.output(ctx, "cat-file", "blob", id)
	return bytes.NewReader(out), err
}

// run runs git and returns its output without the last line feed.
func (g repository) run(ctx context.Context, args ...string) (string, error) {
	out, err := g.output(ctx, args...)
	return strings.TrimSuffix(string(out), "\n"), err
}

func (g repository) output(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = g.dir, g.environ
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	alone(cmd) // git's connection helper outlives git if only git is killed
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if text := strings.TrimSpace(stderr.String()); err != nil && text != "" {
		return nil, fmt.Errorf("git %s: %w", args[0], errors.New(text))
	}
	if err != nil {
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return stdout.Bytes(), nil
}

// gitEnviron returns the environment without variables that refer to another
// repository, as in a hook. It disables prompts, translations, transports that run
// commands, and redirects from an encrypted protocol to HTTP.
func gitEnviron(environ []string, url string) []string {
	out := slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		switch name {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE",
			"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE":
			return true
		}
		return false
	})
	protocols := "file:https:ssh"
	if strings.HasPrefix(url, "http:") {
		protocols += ":http"
	}
	return append(out, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL="+protocols)
}
