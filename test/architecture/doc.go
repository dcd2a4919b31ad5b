// Package architecture tests the structure of the code: import rules, package comments, and
// that go.mod can be depended on. It has no code of its own, and does not check style: make
// check does.
package architecture
