package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
)

// dockerImage contains the program that tasks run. Nomad does not check for a newer image, because
// the tag is not "latest".
const dockerImage = "bench:local"

// docker is a private Docker daemon with its own containerd and no network. The sandbox removes the
// mounts it leaves in /run.
type docker struct {
	dir    string
	daemon *exec.Cmd
	exited chan struct{}
	http   *http.Client
}

func (d *docker) socket() string  { return filepath.Join(d.dir, "socket") }
func (d *docker) address() string { return "unix://" + d.socket() }

// startDocker starts a daemon and loads the image. On error no daemon is left.
func (f *field) startDocker(ctx context.Context) error {
	path, err := exec.LookPath("dockerd")
	if err != nil {
		return errors.New("dockerd is not installed: apt-get install docker.io")
	}
	d := &docker{dir: filepath.Join(f.dir, "docker"), exited: make(chan struct{})}
	d.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
	}}}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.daemon = exec.Command(path,
		"--host", d.address(), "--data-root", filepath.Join(d.dir, "data"), "--exec-root", "/run/docker",
		"--pidfile", filepath.Join(d.dir, "pid"), "--bridge", "none", "--iptables=false", "--ip6tables=false",
		"--exec-opt", "native.cgroupdriver=cgroupfs")
	d.daemon.Stdout, d.daemon.Stderr = log, log
	d.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // only this process handles an interrupt
	if err := d.daemon.Start(); err != nil {
		return err
	}
	go func() { // ends with the daemon
		_ = d.daemon.Wait() // the log has the error
		close(d.exited)
	}()
	if err := d.prepare(ctx); err != nil {
		return errors.Join(fmt.Errorf("docker daemon does not start here: %w: %s", err, d.logTail()), d.stop(context.WithoutCancel(ctx)))
	}
	f.docker = d
	return nil
}

// logTail returns the end of the daemon's log on one line.
func (d *docker) logTail() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "log")) // only used in an error message
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

func (d *docker) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := agent.Until(ctx, "the Docker daemon answers", func() error {
		select {
		case <-d.exited:
			cancel()
			return errors.New("it has exited")
		default:
			return d.call(ctx, http.MethodGet, "/_ping", nil)
		}
	})
	if err != nil {
		return err
	}
	files, err := programFiles("/bin/sleep")
	if err != nil {
		return err
	}
	layer, err := archive(files)
	if err != nil {
		return err
	}
	repo, tag, _ := strings.Cut(dockerImage, ":")
	return d.call(ctx, http.MethodPost, "/images/create?fromSrc=-&repo="+repo+"&tag="+tag, layer)
}

func (d *docker) call(ctx context.Context, method, path string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	res, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", path, res.Status, text)
	}
	return err
}

// library matches the path of a library in ldd's output.
var library = regexp.MustCompile(`(/\S+) \(0x`)

// programFiles returns a program and the libraries it needs.
func programFiles(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	files := []string{program}
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		files = append(files, m[1])
	}
	return files, nil
}

// archive returns a tar of files with their paths.
func archive(files []string) (io.Reader, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		header := &tar.Header{Name: strings.TrimPrefix(file, "/"), Mode: 0o755, Size: int64(len(content))}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return &out, w.Close()
}

// processes returns the PIDs of the daemon and its containerd.
func (d *docker) processes() ([]int, error) {
	pids := []int{d.daemon.Process.Pid}
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		stat, err := p.Stat()
		if err == nil && stat.PPID == d.daemon.Process.Pid && stat.Comm == "containerd" {
			pids = append(pids, p.PID)
		}
	}
	return pids, nil
}

// stop ends the daemon, which ends its containerd.
func (d *docker) stop(ctx context.Context) error {
	d.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := d.daemon.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.exited:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("the Docker daemon did not exit"), d.daemon.Process.Kill())
	}
}
