package image

// Keeps reports whether Keep names an image.
func Keeps(c Config, name string) bool { return c.keeps(name) }
