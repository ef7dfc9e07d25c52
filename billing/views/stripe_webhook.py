"""Where Stripe tells of events. The signature is the access; the body is never trusted beyond saying where to look."""

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts.access import public
from billing import tasks
from billing.errors import Refused
from billing.payments import stripe_events


@public("Stripe signs its webhooks; a body without a valid signature leaves no trace.")
@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """Store the event and answer; the work follows in a task, or in the sweep when the broker is down."""
    if _length(request) > stripe_events.BODY_BYTES_MAX:
        return HttpResponse(status=413)
    try:
        event = stripe_events.receive(
            body=request.body, signature=request.headers.get("Stripe-Signature", ""), at=timezone.now()
        )
    except Refused:
        return HttpResponseBadRequest()
    if event.processed_at is None:
        tasks.nudge(tasks.process_stripe_event, event.pk)
    return HttpResponse(status=200)


def _length(request: HttpRequest) -> int:
    try:
        return int(request.headers.get("Content-Length") or 0)
    except ValueError:
        return 0
