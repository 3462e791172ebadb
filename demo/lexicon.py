"""The words of the micro-world: people, places, things, colours, jobs, foods and fixed sentences."""

from typing import Final

# Names of people with their pronoun, which is used in running text only.
PRONOUNS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("Mira", "Anna", "Clara", "Edith", "Greta", "Ines", "Karin", "Lena", "Nora", "Olga", "Ruth", "Vera"), "she"
    ),
    **dict.fromkeys(
        ("Tomas", "Bruno", "David", "Felix", "Hugo", "Jonas", "Karl", "Marco", "Oscar", "Peter", "Simon", "Victor"),
        "he",
    ),
}
PEOPLE: Final = tuple(PRONOUNS)
PLACES: Final = (
    *(
        "mill",
        "garden",
        "market",
        "forest",
        "harbour",
        "school",
        "tower",
        "cellar",
        "kitchen",
        "barn",
        "church",
        "library",
    ),
    *(
        "bakery",
        "valley",
        "square",
        "station",
        "attic",
        "chapel",
        "meadow",
        "castle",
        "cave",
        "inn",
        "orchard",
        "stable",
    ),
)
THINGS: Final = (
    *("lamp", "rope", "key", "book", "cup", "knife", "basket", "drum", "letter", "hammer", "coat", "ring"),
    *("mirror", "bottle", "clock", "ladder", "violin", "map", "candle", "bell", "boot", "spoon", "box", "flute"),
)
COLOURS: Final = (
    "red",
    "blue",
    "green",
    "white",
    "black",
    "yellow",
    "brown",
    "grey",
    "purple",
    "pink",
    "golden",
    "silver",
)
JOBS: Final = (
    *("baker", "doctor", "farmer", "miller", "painter", "sailor", "singer", "smith"),
    *("tailor", "teacher", "weaver", "guard", "clerk", "cook", "hunter", "poet"),
)
FOODS: Final = (
    *("bread", "soup", "cheese", "apples", "honey", "fish", "plums", "cake"),
    *("beans", "rice", "eggs", "nuts", "pears", "jam", "olives", "butter"),
)

FILLERS: Final = (
    "It rained all morning.",
    "The sun was shining.",
    "A cold wind came from the north.",
    "It was a quiet day.",
    "A dog was barking somewhere.",
    "The bells rang at noon.",
    "There was snow on the roofs.",
    "The streets were empty.",
    "Nothing else happened.",
    "It was already late.",
)
OPENINGS: Final = (
    "It was early in the morning.",
    "Once, in a small town, people had a lot to do.",
    "This is what happened on Monday.",
    "The old people still tell this story.",
    "One evening in autumn the whole town was awake.",
    "Listen to what I heard yesterday.",
    "Winter had come, and the days were short.",
    "Nobody expected anything new that day.",
)
CLOSINGS: Final = (
    "That is all there is to tell.",
    "And then everybody went home.",
    "So the day came to an end.",
    "The rest is another story.",
    "After that the town was quiet again.",
    "Nobody spoke about it again.",
)
