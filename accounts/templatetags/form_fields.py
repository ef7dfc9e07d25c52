"""Which markup a form field needs."""

from django import forms, template
from django.forms.boundfield import BoundField

register = template.Library()


@register.filter
def control_kind(field: BoundField) -> str:
    """``checkbox`` for a single box, ``group`` for radio buttons and boxes, ``select`` or ``input``."""
    widget = field.field.widget
    if isinstance(widget, forms.RadioSelect | forms.CheckboxSelectMultiple):
        return "group"
    if isinstance(widget, forms.CheckboxInput):
        return "checkbox"
    if isinstance(widget, forms.Select) and not isinstance(widget, forms.SelectMultiple):
        return "select"
    return "input"
