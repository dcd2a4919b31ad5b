// Package architecture holds tests of the code as such: who may import whom,
// that packages describe themselves, and that go.mod can be depended on. It
// has no code of its own, and does not judge style: make check does.
package architecture
