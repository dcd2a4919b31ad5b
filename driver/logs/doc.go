// Package logs implements the log collector: one process per node that moves the
// output of tasks from their pipes to the rotated files that Nomad serves.
//
// Nomad starts a process of 16 to 25 MiB for each task to do that. This one serves
// all tasks, and outlives the plugin and the agent.
//
// # How output survives crashes
//
// The pipes are FIFOs on disk. Tasks hold them open for reading as well, so that
// the death of the collector neither breaks nor empties them. splice(2) moves bytes
// from the pipe to the file inside the kernel: at any time they are in one or the
// other, even if the collector is killed. A file next to the FIFOs describes the
// source and destination, and the next collector continues at the end of the newest
// file. While a Client has a task attached it holds the FIFO too, so that unread
// output survives the end of the task.
//
// The collector does not inspect the bytes, except for line ends where a file is
// about to be full. It is independent of Nomad and containers, and creates neither
// FIFOs nor the directory of the files.
//
// # Requirements for callers
//
// The collector is this executable, started again, so main, and TestMain of a test
// that creates a Client, must begin with
//
//	if logs.Reexec(leave) {
//		return
//	}
package logs
