// Package logs collects what tasks print: one process for a whole node moves
// it from the tasks' pipes to the rotated files that Nomad serves.
//
// Nomad starts a process for each task to do that, of 16 to 25 MiB. This one
// serves all of them, and outlives the plugin and the agent.
//
// # How nothing is lost
//
// The pipes are FIFOs on disk, which tasks hold open for reading as well, so
// that the death of the collector neither breaks nor empties them. Bytes go
// from the pipe to the file inside the kernel, by splice(2): at each moment
// they are in the one or in the other, also when the collector is killed. What
// it reads from and writes to is described in a file beside the FIFOs, by which
// the next collector goes on where this one was, at the end of the newest file.
// While a Client has a task attached it holds the FIFO as well, so that the
// end of the task does not take along what is not read yet.
//
// What it does not do: it does not look into what it moves, but for ends of
// lines where a file is about to be full, knows neither Nomad nor containers,
// and makes neither FIFOs nor the directory of the files.
//
// # What a program that uses it must do
//
// The collector is this very binary again, so main, and TestMain of a test that
// makes a Client, must begin with
//
//	if logs.Reexec(leave) {
//		return
//	}
package logs
