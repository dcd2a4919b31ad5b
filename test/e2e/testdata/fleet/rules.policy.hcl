rule "beside-every-pod" {
  match {
    driver = ["pod"]
  }
  inject "beside" {}
}
