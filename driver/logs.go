package driver

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// The values of log_collector.
const (
	collectorPod   = "pod"
	collectorNomad = "nomad"
)

// The defaults of Nomad's logs block.
const (
	defaultLogFiles = 10
	defaultLogMiB   = 10
)

// setLogs sets where a task's output is written. If the job disables logging, Nomad
// sets /dev/null, which is kept.
func (s settings) setLogs(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig) error {
	limits := LogsConfig{MaxFiles: defaultLogFiles, MaxFileSizeMB: defaultLogMiB}
	if c.Logs != nil {
		limits = *c.Logs
	}
	if limits.MaxFiles < 1 || limits.MaxFileSizeMB < 1 {
		return fmt.Errorf("logs: max_files = %d, max_file_size = %d: want at least 1 each", limits.MaxFiles, limits.MaxFileSizeMB)
	}
	if err := s.ceilings.checkLogs(limits); err != nil {
		return err
	}
	if s.LogCollector != collectorPod || cfg.StdoutPath == os.DevNull {
		return nil
	}
	dir, err := filepath.Rel(cfg.AllocDir, cfg.TaskDir().LogDir)
	if err != nil {
		return err
	}
	t.Logs = &pod.Logs{
		AllocDirHostPath: cfg.AllocDir, Dir: dir,
		MaxFiles: limits.MaxFiles, MaxFileBytes: int64(limits.MaxFileSizeMB) << 20,
	}
	return nil
}
