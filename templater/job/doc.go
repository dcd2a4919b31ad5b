// Package job holds what injection reads of a job and what it may change in one: the
// view of a job that both backends build, the edits that they apply, and the marks and
// seals by which an injection is taken out again.
package job
