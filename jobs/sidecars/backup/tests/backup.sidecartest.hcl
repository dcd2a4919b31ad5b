test "passes values as arguments" {
  job        = "web.nomad.hcl"
  parameters = { paths = ["data", "config/app.conf"], repository = "s3:https://s3.example.com/backups/web", password_variable = "nomad/jobs/web", keep = { last = 3, daily = 7 } }
  golden     = "web.golden.hcl"
}

test "backs up at the end" {
  job        = "web.nomad.hcl"
  parameters = { paths = ["data"], repository = "/backup", password_variable = "nomad/jobs/web", final_timeout = 60 }

  assert {
    condition     = group.web.task.backup.KillTimeout == 120000000000 && group.web.task.backup.Config.pre_stop[0].timeout == "60s" && group.web.task.backup.Config.pre_stop[0].args[1] == "--final"
    error_message = "It has half of the time."
  }
}

test "does not back up at the end" {
  job        = "web.nomad.hcl"
  parameters = { paths = ["data"], repository = "/backup", password_variable = "nomad/jobs/web", final = false }

  assert {
    condition     = group.web.task.backup.Config.pre_stop[0].args[1] == "--none"
    error_message = "It ends immediately."
  }
}

test "refuses a path that is an option" {
  job        = "web.nomad.hcl"
  parameters = { paths = ["data", ""], repository = "/backup", password_variable = "nomad/jobs/web" }
  error      = "paths must be paths below"
}

test "refuses a path outside of the alloc directory" {
  job        = "web.nomad.hcl"
  parameters = { paths = ["../secrets"], repository = "/backup", password_variable = "nomad/jobs/web" }
  error      = "paths must be paths below"
}

test "refuses a repository that runs a program" {
  job        = "web.nomad.hcl"
  parameters = { paths = ["data"], repository = "rclone:x", password_variable = "nomad/jobs/web" }
  error      = "repository must be a directory"
}

test "refuses a repository with a password" {
  job        = "web.nomad.hcl"
  parameters = { paths = ["data"], repository = "rest:https://user:password@example.com/", password_variable = "nomad/jobs/web" }
  error      = "an address without a password"
}

test "refuses to keep nothing" {
  job        = "web.nomad.hcl"
  parameters = { paths = ["data"], repository = "/backup", password_variable = "nomad/jobs/web", keep = { last = 0 } }
  error      = "keep must have whole numbers of 1 or more"
}

test "needs a password" {
  job        = "web.nomad.hcl"
  parameters = { paths = ["data"], repository = "/backup" }
  error      = "needs a value for parameter \"password_variable\""
}
