"""Two letters that stand for a name."""

from django import template

register = template.Library()


@register.filter
def initials(name: str) -> str:
    """``AR`` of ``Acme Robotics``, ``M`` of ``maya@acme.example``."""
    words = [word for word in name.replace("@", " @").split() if word[0].isalnum()]
    if not words:
        return "·"
    letters = words[0][0] if len(words) == 1 else words[0][0] + words[-1][0]
    return letters.upper()
