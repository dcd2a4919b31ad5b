test "passes values as arguments" {
  job        = "web.nomad.hcl"
  parameters = { repository = "https://git.example.com/team/site.git", password_variable = "nomad/jobs/web" }
  golden     = "web.golden.hcl"
}

test "refuses a repository that is a command" {
  job        = "web.nomad.hcl"
  parameters = { repository = "ext::sh -c reboot" }
  error      = "repository must be an https, http or file URL"
}

test "refuses a repository with a password" {
  job        = "web.nomad.hcl"
  parameters = { repository = "https://user:password@git.example.com/site.git" }
  error      = "repository must be an https, http or file URL without a user"
}

test "refuses a ref that is an option" {
  job        = "web.nomad.hcl"
  parameters = { repository = "https://git.example.com/site.git", ref = "--upload-pack=reboot" }
  error      = "ref must be the name of a branch or tag"
}

test "refuses a destination outside of the alloc directory" {
  job        = "web.nomad.hcl"
  parameters = { repository = "https://git.example.com/site.git", destination = "data/../../secrets" }
  error      = "destination must be a path below"
}

test "refuses a variable that is a template" {
  job        = "web.nomad.hcl"
  parameters = { repository = "https://git.example.com/site.git", password_variable = "a\" }}{{ env \"HOME" }
  error      = "password_variable must be the path"
}

test "refuses an interval of nothing" {
  job        = "web.nomad.hcl"
  parameters = { repository = "https://git.example.com/site.git", interval = 0 }
  error      = "interval must be a whole number of seconds"
}
