"""The demo's routes; they exist only when DEMO_FOLDER is set."""

from django.urls import path

from console.demo import views

app_name = "demo"

urlpatterns = [
    path("code/", views.code, name="code"),
    path("mailbox/", views.mailbox, name="mailbox"),
    path("mailbox/<str:name>/", views.mail, name="mail"),
]
