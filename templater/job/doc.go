// Package job defines the parts of a job that injection reads and changes: the view of a job
// that both backends build, the edits that they apply, and the marks and seals that eject
// uses.
package job
