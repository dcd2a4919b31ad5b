rule "beside-every-pod" {
  match {
    namespace = ["default", "team"]
    driver    = ["pod"]
  }
  inject "beside" {}
  required = true
}

rule "no-system-jobs" {
  validation {
    condition     = job.type != "system"
    error_message = "Job ${job.id} is a system job, and those are for operators. Set type = \"service\"."
  }
}
