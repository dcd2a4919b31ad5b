package job

import "github.com/zclconf/go-cty/cty"

// DefaultLogs is the default number of files and their size in MB, in Nomad (api.DefaultLogConfig)
// and in the pod driver.
const DefaultLogs = 10

// MaxMB returns the disk space that the logs of the task may need, in MB.
func (l Logs) MaxMB() int {
	if l.Disabled {
		return 0
	}
	files, size := l.numbers()
	return files * size
}

func (l Logs) numbers() (files, sizeMB int) {
	if files = l.Files; files == 0 {
		files = DefaultLogs
	}
	if sizeMB = l.SizeMB; sizeMB == 0 {
		sizeMB = DefaultLogs
	}
	return files, sizeMB
}

// ForDriver returns the logs setting for the driver; ok is false if it equals the default. A job
// read from Nomad has the defaults written out for every task, and must produce the same result
// as its source. Numbers that Nomad refuses are passed through.
func (l Logs) ForDriver() (v cty.Value, ok bool) {
	files, size := l.numbers()
	if l.Disabled || files < 1 || size < 1 || (files == DefaultLogs && size == DefaultLogs) {
		return cty.NilVal, false
	}
	return cty.ObjectVal(map[string]cty.Value{
		"max_files":     cty.NumberIntVal(int64(files)),
		"max_file_size": cty.NumberIntVal(int64(size)),
	}), true
}
