"""The words of which names are made."""

FIRST = (
    "Ada Amir Anja Aroha Bela Bruno Carla Chidi Dana Diego Edda Elif Emil Farid Freya Gita Goran Hana Hugo Ines "
    "Ivo Jana "
    "Jonas Kofi Lale Lars Lena Luca Mara Mei Milan Nadia Nils Noor Olga Omar Petra Priya Rafael Rosa Samir Sofia Tariq "
    "Tomas Uma Vera Wanda Yusuf Zoe"
)
LAST = (
    "Abara Ahlers Banerjee Berg Castro Cole Dahl Demir Eriksen Fischer Fontana Garcia Grau Haddad Hansen Ivanov Jensen "
    "Kaplan Keller Kim Lang Laurent Lopez Marino Meyer Moreau Nakata Novak Okafor Olsen Park Petrov Quist Ramos "
    "Richter "
    "Rossi Sato Silva Singh Soto Tanaka Torres Ueda Vance Vogel Weber Wolff Yilmaz Zhang Zeman"
)
CITIES = (
    "Aalborg Accra Adana Agadir Ancona Antwerp Arusha Aveiro Basel Bergen Bilbao Bologna Brno Bursa Cadiz Cali "
    "Cebu Cork "
    "Cusco Dakar Davao Delft Durban Enugu Essen Faro Ghent Gdansk Graz Haifa Hobart Ibadan Izmir Jaipur Kandy "
    "Kano Kobe "
    "Kosice Lagos Leeds Leon Lille Lublin Malaga Malmo Medan Merida Mombasa Nantes Napier Odense Oulu Parma "
    "Perth Porto "
    "Pune Quito Recife Riga Salta Sapporo Seville Split Tampere Turin Umea Utrecht Varna Vigo Yazd Zadar"
)
QUALITIES = (
    "Amber Arctic Bold Bright Bronze Calm Cedar Clear Coastal Copper Coral Crisp Dusky Early Ember Fern Gentle Golden "
    "Grand Granite Hidden Indigo Ivory Jade Late Linen Lunar Maple Misty Noble Northern Olive Opal Pale Quiet "
    "Rapid Royal "
    "Rustic Sable Scarlet Silent Silver Solar Steady Stone Swift Tidal Velvet Violet Wild Winter"
)
THINGS = (
    "Anchor Arrow Basket Beacon Bench Bridge Canvas Chest Circle Cloud Compass Crown Desk Drum Engine Feather "
    "Field Flask "
    "Forge Garden Gate Harbor Hammer Horizon Kettle Ladder Lamp Lantern Meadow Mirror Orbit Orchard Panel Pillow Quill "
    "River Rocket Saddle Shelf Signal Spindle Table Tower Trail Valley Wagon Wheel Window Yard"
)

POOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "person": (tuple(FIRST.split()), tuple(LAST.split())),
    "place": (tuple(CITIES.split()), ("", "North", "South", "East", "West", "Old Town", "Harbor")),
    "thing": (tuple(QUALITIES.split()), tuple(THINGS.split())),
    "team": (tuple(CITIES.split()), ("Bears", "Comets", "Falcons", "Lynx", "Rovers", "Sharks", "Storm", "Wolves")),
}
"""First and second words of a name; every pair is a name."""
