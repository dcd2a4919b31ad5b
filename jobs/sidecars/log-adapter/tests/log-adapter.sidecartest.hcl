test "writes rsyslog's configuration" {
  job        = "web.nomad.hcl"
  parameters = { file = "data/app.log", pattern = "^([^ ]+) \\[([A-Z]+)\\] (.*)$", fields = ["client", "level", "message"], start = "^\\d" }
  golden     = "web.golden.hcl"
}

test "refuses a pattern that ends the string" {
  job        = "web.nomad.hcl"
  parameters = { file = "data/app.log", pattern = "(a)', 0, 1, '') == 'b' then", fields = ["a"] }
  error      = "pattern must be at most 1000 characters"
}

test "refuses a pattern of two lines" {
  job        = "web.nomad.hcl"
  parameters = { file = "data/app.log", pattern = "(a)\n(b)", fields = ["a"] }
  error      = "pattern must be at most 1000 characters"
}

test "refuses a pattern that is a template" {
  job        = "web.nomad.hcl"
  parameters = { file = "data/app.log", pattern = "({{ env `HOME` }})", fields = ["a"] }
  error      = "{{"
}

test "refuses a field that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { file = "data/app.log", pattern = "(.*)", fields = ["a = 1; set $!b"] }
  error      = "fields must be names"
}

test "refuses a file outside of the alloc directory" {
  job        = "web.nomad.hcl"
  parameters = { file = "../secrets/x", pattern = "(.*)", fields = ["a"] }
  error      = "file must be a path below"
}

test "refuses a file that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { file = "a\" tag=\"b", pattern = "(.*)", fields = ["a"] }
  error      = "file must be a path below"
}
